"""The flows whose laws are counted: their state, and its velocity for a given gradient.

gradient : theta' = -grad.
multiplicative : theta' = -theta * grad entrywise, mirror flow with the entropy; nonnegative
    factorisation.
weight-decay : theta' = -grad - rate theta. A law may depend on time, so the state has one entry
    more, the growth s = e^(rate t).
momentum : theta'' = -grad - rate theta' (heavy ball). The state is theta, the velocity theta' and
    the growth s = e^(rate t).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from dmft.conservation.rings import Ring

Flow = Literal["gradient", "multiplicative", "weight-decay", "momentum"]
Shapes = dict[str, tuple[int, ...]]


def state_shapes(flow: str, parameters: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Names and shapes of everything that moves; the parameters come first."""
    shapes: Shapes = dict(parameters)
    if flow == "momentum":
        shapes |= {f"velocity.{name}": shape for name, shape in parameters.items()}
    if flow in ("momentum", "weight-decay"):
        shapes["growth"] = ()
    return shapes


def size_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Number of entries."""
    return sum(math.prod(shape) for shape in shapes.values())


def velocity(flow: str, ring: Ring, force: np.ndarray, state: np.ndarray, rate: Any) -> np.ndarray:
    """Velocity of multi-dual states (components, batch, entries) under a force, minus a gradient.

    `rate` is a scalar of the ring. Over all forces of a linear space, the velocities span what the
    flow can do, with its drift.
    """
    if flow == "gradient":
        return force
    count = force.shape[-1]
    if flow == "multiplicative":
        return ring.multiply(force, state)
    friction = ring.wrap(-rate * state)
    growth = ring.negative(friction[..., -1:])
    if flow == "weight-decay":
        return _joined(ring.add(force, friction[..., :count]), growth)
    moving = state[..., count : 2 * count]
    pushed = ring.add(force, friction[..., count : 2 * count])
    return _joined(moving, pushed, growth)


def _joined(*parts: np.ndarray) -> np.ndarray:
    batch = max(part.shape[1] for part in parts)
    full = [np.broadcast_to(part, (len(part), batch, part.shape[2])) for part in parts]
    return np.concatenate(full, axis=-1)
