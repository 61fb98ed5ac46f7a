"""Arrays that remember how they were made: reverse-mode derivatives of multi-dual numbers.

A `Tensor` has the axes (components, batch, *event). The event axes behave as those of a NumPy
array: `+ - * / @`, `.T`, `.sum`, `.reshape` and indexing. The batch axis carries independent
evaluations and is never summed, so that one backward sweep gives one gradient for each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dmft.conservation.functions import Series, exp_series, power_series
from dmft.conservation.rings import Ring

_Pullback = Callable[[np.ndarray], np.ndarray]
_numbers = itertools.count()


class Tensor:
    """A node of the computation; `parents` are its inputs, each with its pullback."""

    __slots__ = ("data", "number", "parents", "ring", "tracked")
    __array_ufunc__ = None  # NumPy leaves operators to this class

    def __init__(
        self,
        ring: Ring,
        data: np.ndarray,
        parents: Sequence[tuple[Tensor, _Pullback]] = (),
        tracked: bool = False,
    ) -> None:
        self.ring = ring
        self.data = data
        self.parents = [entry for entry in parents if entry[0].tracked]
        self.tracked: bool = tracked or bool(self.parents)
        self.number = next(_numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the event axes."""
        return self.data.shape[2:]

    @property
    def ndim(self) -> int:
        return self.data.ndim - 2

    def constant(self, data: np.ndarray) -> Tensor:
        """An untracked tensor of the same ring; `data` has batch and event axes."""
        return Tensor(self.ring, data[None])

    def _operand(self, other: Any) -> Tensor:
        if isinstance(other, Tensor):
            return other
        if isinstance(other, int | Fraction):
            value = Fraction(other)
            entry = self.ring.fraction(value.numerator, value.denominator)
            return Tensor(self.ring, np.full((1, 1), entry, self.ring.dtype))
        array = np.asarray(other)
        if self.ring.exact and not np.issubdtype(array.dtype, np.integer):
            raise TypeError("only integers have a meaning in every ring")
        return Tensor(self.ring, self.ring.wrap(array.astype(self.ring.dtype))[None, None])

    def __add__(self, other: Any) -> Tensor:
        a, b = _aligned(self, self._operand(other))
        data = self.ring.add(a.data, b.data)
        return Tensor(self.ring, data, [(a, _unbroadcast(a)), (b, _unbroadcast(b))])

    __radd__ = __add__

    def __neg__(self) -> Tensor:
        return Tensor(self.ring, self.ring.negative(self.data), [(self, self.ring.negative)])

    def __sub__(self, other: Any) -> Tensor:
        return self + (-self._operand(other))

    def __rsub__(self, other: Any) -> Tensor:
        return -self + other

    def __mul__(self, other: Any) -> Tensor:
        ring = self.ring
        a, b = _aligned(self, self._operand(other))
        left, right = _unbroadcast(a), _unbroadcast(b)
        return Tensor(ring, ring.multiply(a.data, b.data), [
            (a, lambda g: left(ring.multiply(g, b.data))),
            (b, lambda g: right(ring.multiply(g, a.data))),
        ])  # fmt: skip

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        if isinstance(other, Tensor):
            return self * reciprocal(other)
        return self * (1 / Fraction(other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return reciprocal(self) * other

    def __pow__(self, exponent: int) -> Tensor:
        if exponent < 1:
            raise ValueError("only positive integer powers")
        result = self
        for _ in range(exponent - 1):
            result = result * self
        return result

    def __matmul__(self, other: Tensor) -> Tensor:
        ring = self.ring
        a, b = _aligned(self, self._operand(other))
        left, right = _unbroadcast(a), _unbroadcast(b)
        return Tensor(ring, ring.matmul(a.data, b.data), [
            (a, lambda g: left(ring.matmul(g, b.data.swapaxes(-1, -2)))),
            (b, lambda g: right(ring.matmul(a.data.swapaxes(-1, -2), g))),
        ])  # fmt: skip

    @property
    def T(self) -> Tensor:
        """The last two axes swapped."""
        return Tensor(self.ring, self.data.swapaxes(-1, -2), [(self, lambda g: g.swapaxes(-1, -2))])

    def reshape(self, *event: int) -> Tensor:
        data = self.data.reshape(*self.data.shape[:2], *event)
        shape = self.shape
        return Tensor(self.ring, data, [(self, lambda g: g.reshape(*g.shape[:2], *shape))])

    def swapaxes(self, first: int, second: int) -> Tensor:
        i, j = (axis if axis < 0 else axis - self.ndim for axis in (first, second))
        return Tensor(self.ring, self.data.swapaxes(i, j), [(self, lambda g: g.swapaxes(i, j))])

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Sum over one event axis, or over all of them."""
        if axis is None:
            return self.reshape(-1).sum(-1)
        axis = axis if axis < 0 else axis - self.ndim
        shape = self.shape
        data = self.ring.wrap(self.data.sum(axis, keepdims=keepdims))

        def spread(g: np.ndarray) -> np.ndarray:
            g = g if keepdims else np.expand_dims(g, axis)
            return np.broadcast_to(g, (*g.shape[:2], *shape))

        return Tensor(self.ring, data, [(self, spread)])

    def __getitem__(self, index: Any) -> Tensor:
        key = (slice(None), slice(None), *(index if isinstance(index, tuple) else (index,)))
        shape = self.shape

        def scatter(g: np.ndarray) -> np.ndarray:
            out = np.zeros((*g.shape[:2], *shape), g.dtype)
            if any(isinstance(part, list | np.ndarray) for part in key):
                np.add.at(out, key, g)  # an index may occur twice
                return self.ring.wrap(out)
            out[key] = g
            return out

        return Tensor(self.ring, self.data[key], [(self, scatter)])


def concatenate(tensors: Sequence[Tensor], axis: int = -1) -> Tensor:
    """Join along an event axis, counted from the end."""
    ring = tensors[0].ring
    components = max(len(t.data) for t in tensors)
    batch = max(t.data.shape[1] for t in tensors)
    parts = []
    for tensor in tensors:
        part = np.zeros((components, batch, *tensor.shape), ring.dtype)
        part[: len(tensor.data)] = tensor.data
        parts.append(part)
    parents = []
    position = 0
    for tensor in tensors:
        width = tensor.shape[axis]
        cut = [slice(None)] * -axis
        cut[0] = slice(position, position + width)
        parents.append((tensor, lambda g, cut=tuple(cut): g[(..., *cut)]))
        position += width
    return Tensor(ring, np.concatenate(parts, axis), parents)


def backward(output: Tensor, seed: np.ndarray, inputs: Sequence[Tensor]) -> list[np.ndarray]:
    """Gradients of <seed, output> with respect to `inputs`, for each entry of the batch.

    `seed` has the axes (components, batch, *event). An input that plays no part gets zeros.
    """
    ring = output.ring
    gradients: dict[int, np.ndarray] = {output.number: seed}
    for node in _descending(output):
        gradient = gradients.get(node.number)
        if gradient is None:
            continue
        for parent, pullback in node.parents:
            part = pullback(gradient)
            if parent.number in gradients:
                part = ring.add(gradients[parent.number], part)
            gradients[parent.number] = part
        if node.parents:
            del gradients[node.number]  # memory
    zeros = np.zeros((1, seed.shape[1]), ring.dtype)
    return [
        gradients[t.number]
        if t.number in gradients
        else np.broadcast_to(zeros.reshape(1, -1, *[1] * t.ndim), (1, seed.shape[1], *t.shape))
        for t in inputs
    ]


def _descending(output: Tensor) -> list[Tensor]:
    """All tracked nodes that `output` depends on, each after everything made from it."""
    found = {output.number: output}
    stack = [output]
    while stack:
        for parent, _ in stack.pop().parents:
            if parent.number not in found:
                found[parent.number] = parent
                stack.append(parent)
    return [found[number] for number in sorted(found, reverse=True)]


def _aligned(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the same number of event axes: the shorter gets axes of length 1 in front."""
    if a.ndim < b.ndim:
        a = a.reshape(*[1] * (b.ndim - a.ndim), *a.shape)
    elif b.ndim < a.ndim:
        b = b.reshape(*[1] * (a.ndim - b.ndim), *b.shape)
    return a, b


def _unbroadcast(operand: Tensor) -> _Pullback:
    """Sum a gradient over the event axes along which the operand was repeated."""
    shape, ring = operand.shape, operand.ring

    def pull(g: np.ndarray) -> np.ndarray:
        for axis, (given, wanted) in enumerate(zip(g.shape[2:], shape, strict=True), start=2):
            if given != wanted:
                g = ring.wrap(g.sum(axis, keepdims=True))
        return g

    return pull


def apply(series: Series, z: Tensor) -> Tensor:
    """f(z), with the pullback g -> g f'(z)."""
    ring = z.ring
    order = len(z.data).bit_length() - 1  # the nilpotent part to this power may differ from 0
    coefficients = series(ring, z.data[0], order + 1)
    derivative = [ring.wrap(j * c) for j, c in enumerate(coefficients)][1:]
    slope = _compose(z, derivative)
    return Tensor(ring, _compose(z, coefficients[:-1]), [(z, lambda g: ring.multiply(g, slope))])


def _compose(z: Tensor, coefficients: list[np.ndarray]) -> np.ndarray:
    nilpotent = z.data.copy()
    nilpotent[0] = 0
    result = coefficients[-1][None]
    for c in reversed(coefficients[:-1]):
        result = z.ring.add(z.ring.multiply(result, nilpotent), c[None])
    return result


def exp(z: Tensor) -> Tensor:
    """e^z entrywise."""
    return apply(exp_series, z)


def reciprocal(z: Tensor) -> Tensor:
    """1/z entrywise."""
    return apply(power_series(-1), z)
