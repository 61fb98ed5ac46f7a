"""Gradient flow of a model by the implicit midpoint rule, which keeps quadratic laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.conservation.models.fields import Fields, LossFunction
from dmft.conservation.models.survey import ModelLaws
from dmft.errors import NotConverged

if TYPE_CHECKING:
    import torch

_SWEEPS = 200
_HALVINGS = 30
_ROUNDING = 1e-12  # the iteration may stall below this, relative to the slope
_MOVE = 0.02  # of the parameters, in the first step


def flow_drift(
    model: torch.nn.Module,
    laws: ModelLaws,
    loss: LossFunction,
    batches: Sequence[Any],
    *,
    steps: int = 20,
) -> dict[str, float]:
    """The largest drift of every law along the flow of the mean loss, after `steps` steps.

    Parameters
    ----------
    model : in float64; it is at the end of the flow afterwards.
    laws : of the model.
    loss, batches : as for `discover`; the flow is that of the mean over all batches.

    Returns
    -------
    drifts : by name, largest |h(t) - h(0)| over entries, relative to 1 + |h(0)|; and 'moved', the
        change of the parameters relative to their norm.

    Raises
    ------
    InputError : another precision or no batches.
    NotConverged : the stage equation has no solution for any step.
    """
    import torch

    fields = Fields(model, loss, batches)

    def slope(theta: torch.Tensor) -> torch.Tensor:
        fields.set(theta)
        gradients = [fields.gradient(b) for b in range(len(batches))]
        return -torch.stack(gradients).mean(dim=0)

    theta = start = fields.get()
    first = {law.name: law.evaluate(fields.parameters).detach() for law in laws}
    speed = slope(theta)
    step = _MOVE * float(theta.norm()) / (float(speed.norm()) or 1.0)
    for _ in range(steps):
        middle, step = _solve(slope, theta, speed, step)
        theta = theta + step * middle
        speed = slope(theta)
    fields.set(theta)
    drifts = {"moved": float((theta - start).norm() / start.norm())}
    with torch.no_grad():
        for law in laws:
            before = first[law.name]
            change = (law.evaluate(fields.parameters) - before).abs() / (1 + before.abs())
            drifts[law.name] = float(change.max())
    return drifts


def _solve(slope: Any, theta: Any, speed: Any, step: float) -> tuple[Any, float]:
    """The slope at the middle, by fixed-point iteration; the step is halved until it converges."""
    for _ in range(_HALVINGS):
        middle, before = speed, np.inf
        for _ in range(_SWEEPS):
            new = slope(theta + step / 2 * middle)
            change = float((new - middle).abs().max() / new.abs().max())
            middle = new
            if change < 1e-14 or (change < 1e-12 and change >= before / 2):
                return middle, step
            if change > 0.9 * before and before < np.inf:
                break
            before = change
        step /= 2
    raise NotConverged("the midpoint equation of the flow did not converge for any step")
