"""What is random in one evaluation of a network: data, activation patterns, selections, cotangents.

Everything drawn is kept and replayed in the same order by the next evaluation, so that a generator
is the same vector field wherever it is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dmft.conservation import functions, tensor
from dmft.conservation.rings import PrimeField, Ring, hash_name
from dmft.conservation.tensor import Tensor

PATTERNS = (
    "every activation pattern of the hidden units occurs near the point for some data (checked"
    " over the prime field with arbitrary patterns)"
)
SELECTIONS = "every selection (top-k, maximum) occurs near the point for some data"
FORMAL = (
    "functional independence: the values of transcendental functions at the arguments of the"
    " network satisfy no algebraic relation besides their differential equations"
)
CONSTANTS = "fixed constants of the network (angles, slopes, eps, rates) are generic"


class Draws:
    """Random numbers of `batch` independent evaluations.

    Parameters
    ----------
    ring : where the network is evaluated.
    rng : source of everything drawn.
    batch : number of evaluations.
    key : constants of the network (not of the data) depend on it alone.

    Attributes
    ----------
    assumptions : what a formal evaluation over a prime field takes for granted.
    missing : (batch,) how many square roots of the network do not exist in the prime field.
    roots : how many square roots one evaluation takes.
    continuous : whether the data contain generic numbers, not only classes.
    """

    def __init__(self, ring: Ring, rng: np.random.Generator, batch: int, key: int = 0) -> None:
        self.ring = ring
        self.batch = batch
        self.key = key
        self.assumptions: set[str] = set()
        self.missing = np.zeros(batch, int)
        self.roots = 0
        self.continuous = False
        self._rng = rng
        self._arrays: list[np.ndarray] = []
        self._position = 0
        self._cotangent: np.ndarray | None = None

    def restart(self) -> Draws:
        """Replay from the beginning."""
        self._position = 0
        self.missing = np.zeros(self.batch, int)
        self.roots = 0
        return self

    @property
    def valid(self) -> np.ndarray:
        """Indices of the evaluations in which all square roots exist."""
        return np.flatnonzero(self.missing == 0)

    def select(self, index: np.ndarray) -> Draws:
        """The data of the evaluations `index` (repeats allowed), with fresh cotangents."""
        chosen = Draws(self.ring, self._rng, len(index), self.key)
        chosen._arrays = [array[index] for array in self._arrays]
        chosen.assumptions = self.assumptions
        chosen.roots = self.roots
        chosen.continuous = self.continuous
        return chosen

    def distinct(self) -> Draws:
        """Each combination of data once."""
        rows = np.concatenate([array.reshape(self.batch, -1) for array in self._arrays], axis=1)
        return self.select(np.unique(rows, axis=0, return_index=True)[1])

    def _replay(self, make: Callable[[], np.ndarray]) -> np.ndarray:
        if self._position == len(self._arrays):
            self._arrays.append(make())
        self._position += 1
        return self._arrays[self._position - 1]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return Tensor(self.ring, np.ascontiguousarray(array)[None])

    # Data

    def inputs(self, *shape: int) -> Tensor:
        """Generic real inputs."""
        self.continuous = True
        return self._generic(*shape)

    def _generic(self, *shape: int) -> Tensor:
        array = self._replay(lambda: self.ring.random(self._rng, (self.batch, *shape)))
        return self._tensor(array)

    def one_hot(self, classes: int, *shape: int) -> Tensor:
        """Random classes as unit vectors, with axes (*shape, classes)."""
        chosen = self._replay(lambda: self._rng.integers(0, classes, (self.batch, *shape)))
        return self._tensor(np.eye(classes, dtype=self.ring.dtype)[chosen])

    def cotangent(self, shape: tuple[int, ...], zero_sum: bool) -> np.ndarray:
        """Gradient of a loss with respect to the outputs, axes (1, batch, *shape).

        With `zero_sum` the last axis sums to zero, as for logits with cross-entropy.
        """
        if self._cotangent is None:
            w = self.ring.random(self._rng, (self.batch, *shape))
            if zero_sum:
                w[..., -1] = 0
                w[..., -1] = self.ring.wrap(-self.ring.wrap(w.sum(-1)))
            self._cotangent = w[None]
        return self._cotangent

    # Functions whose meaning over a prime field has to be chosen

    def pattern(self, z: Tensor, negative: float = 0.0) -> Tensor:
        """Slope of a (leaky) rectifier: 1 or `negative`; arbitrary over a prime field."""
        if self.ring.exact:
            self.assumptions.add(PATTERNS)
            return self._generic(*z.shape)
        return self._tensor(np.where(z.data[0] > 0, 1.0, negative))

    def activation(self, name: str, z: Tensor) -> Tensor:
        """A named activation: linear, relu, leaky-relu, gelu, silu, tanh, sigmoid, softplus."""
        if name == "linear":
            return z
        if name in ("relu", "leaky-relu"):
            return z * self.pattern(z, 0.0 if name == "relu" else 0.1)
        self.assumptions.add(FORMAL)
        return tensor.apply(functions.SERIES[name], z)

    def exp(self, z: Tensor) -> Tensor:
        self.assumptions.add(FORMAL)
        return tensor.exp(z)

    def softmax(self, z: Tensor, weight: Tensor | None = None) -> Tensor:
        """Over the last axis; `weight` multiplies the exponentials (0 masks)."""
        if not self.ring.exact:
            top = z.data[0].max(axis=-1, keepdims=True)
            z = z - z.constant(top)  # no overflow; no change, since it is a constant shift
        e = self.exp(z)
        if weight is not None:
            e = e * weight
        return e / e.sum(-1, keepdims=True)

    def inverse_root(self, z: Tensor) -> Tensor:
        """z^(-1/2), recording where it does not exist."""
        if isinstance(self.ring, PrimeField):
            _, exists = self.ring.square_root(z.data[0])
            exists &= z.data[0] != 0  # zero has a root, but no inverse
            lost = ~exists.reshape(len(exists), -1)
            self.missing = self.missing + lost.sum(axis=1)
            self.roots += lost.shape[1]
        return tensor.apply(functions.inverse_root_series, z)

    def maximum(self, z: Tensor) -> Tensor:
        """Maximum over the last axis; arbitrary weights over a prime field."""
        if self.ring.exact:
            self.assumptions.add(SELECTIONS)
            weight = self._generic(*z.shape)
        else:
            best = z.data[0].argmax(-1)
            weight = self._tensor(np.eye(z.shape[-1])[best])
        return (z * weight).sum(-1)

    def top(self, z: Tensor, k: int) -> Tensor:
        """Indicator of the k largest of the last axis; a random choice over a prime field."""
        n = z.shape[-1]
        if k == n:
            return self.constant_array(np.ones(n))
        if self.ring.exact:
            self.assumptions.add(SELECTIONS)
            noise = self._replay(lambda: self._rng.random((self.batch, *z.shape)))
        else:
            noise = z.data[0]
        rank = np.argsort(np.argsort(-noise, axis=-1), axis=-1)
        return self._tensor((rank < k).astype(self.ring.dtype))

    # Constants of the network: the same for all data

    def constant_array(self, array: np.ndarray) -> Tensor:
        """A fixed integer array."""
        return self._tensor(np.asarray(array).astype(self.ring.dtype)[None])

    def constant(self, name: str, real: Any) -> Tensor:
        """Fixed generic numbers: `real` over the reals, random elements over a prime field."""
        real = np.asarray(real, float)
        if not self.ring.exact:
            return self._tensor(real[None])
        self.assumptions.add(CONSTANTS)
        return self._tensor(self.ring.random(self._generator(name), (1, *real.shape)))

    def rate(self) -> Any:
        """Rate of friction or decay, a scalar of the ring."""
        return self.constant("rate", 0.5).data[0, 0]

    def rotations(self, name: str, label: int, base: float, steps: int) -> list[tuple[Any, Any]]:
        """(cos, sin) of 0, 1, .. steps - 1 times a generic angle; label 0 is the angle 0.

        Over a prime field (c, s) is a random point of c^2 + s^2 = 1.
        """
        if label == 0:
            return [(1, 0)] * steps
        if not self.ring.exact:
            angle = base ** (1 - label)
            return [(math.cos(n * angle), math.sin(n * angle)) for n in range(steps)]
        self.assumptions.add(CONSTANTS)
        p = self.ring.p  # type: ignore[attr-defined]
        t = int(self._generator(f"{name}/{label}").integers(1, p))
        scale = pow(1 + t * t, -1, p)
        c, s = (1 - t * t) * scale % p, 2 * t * scale % p
        points = [(1, 0)]
        for _ in range(steps - 1):
            x, y = points[-1]
            points.append(((x * c - y * s) % p, (x * s + y * c) % p))
        return points

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.key, hash_name(name)])


def join(parts: Sequence[Draws]) -> Draws:
    """The evaluations of several draws of the same network as one."""
    first = parts[0]
    joined = first.select(np.zeros(0, int))
    joined.batch = sum(part.batch for part in parts)
    joined.missing = np.zeros(joined.batch, int)
    joined._arrays = [
        np.concatenate([part._arrays[i] for part in parts]) for i in range(len(first._arrays))
    ]
    return joined
