"""Candidate quantities of a model: entries of its parameters, and of their Gram matrices.

Every linear law is a combination of entries, every law of the catalogue one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.conservation.models.forms import ModelLaw, Term

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Candidates:
    """The entries of one parameter (axis None), or of a Gram matrix over one of its axes.

    inside : the leading axis counts independent matrices, such as experts.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None = None
    inside: bool = False

    @property
    def size(self) -> int:
        """Number of quantities."""
        if self.axis is None:
            return int(np.prod(self.shape))
        n = self.shape[self.axis]
        return n * (n + 1) // 2 * (self.shape[0] if self.inside else 1)

    def _rows(self, x: Any) -> Any:
        assert self.axis is not None
        if self.inside:
            return x.movedim(self.axis, 1).flatten(2)
        return x.movedim(self.axis, 0).reshape(1, x.shape[self.axis], -1)

    def values(self, x: Any) -> Any:
        """The quantities at a parameter x."""
        if self.axis is None:
            return x.reshape(-1)
        rows = self._rows(x)
        return self._upper(rows @ rows.transpose(1, 2))

    def along(self, x: Any, g: Any) -> Any:
        """Their derivatives at x along g."""
        if self.axis is None:
            return g.reshape(-1)
        product = self._rows(x) @ self._rows(g).transpose(1, 2)
        return self._upper(product + product.transpose(1, 2))

    def labels(self) -> list[str]:
        """A name for each quantity."""
        if self.axis is None:
            return [f"{self.name}{list(index)}" for index in np.ndindex(*self.shape)]
        blocks = range(self.shape[0]) if self.inside else [-1]
        upper = zip(*np.triu_indices(self.shape[self.axis]), strict=True)
        pairs = [(int(i), int(j)) for i, j in upper]
        return [self._label(block, i, j) for block in blocks for i, j in pairs]

    def _label(self, block: int, i: int, j: int) -> str:
        place = [":"] * len(self.shape)
        if block >= 0:
            place[0] = str(block)
        assert self.axis is not None
        sides = []
        for index in (i, j):
            place[self.axis] = str(index)
            sides.append(f"{self.name}[{','.join(place)}]")
        return f"|{sides[0]}|^2" if i == j else f"<{sides[0]}, {sides[1]}>"

    @staticmethod
    def _upper(gram: Any) -> Any:
        mask = gram.new_ones(gram.shape[-2:]).triu().bool()
        return gram[:, mask].reshape(-1)


@dataclass(frozen=True)
class LawTerm:
    """What a law reads of one parameter."""

    law: ModelLaw
    term: Term

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.term.slot.name

    @property
    def size(self) -> int:
        """Number of quantities."""
        return self.law.entries

    def values(self, x: Any) -> Any:
        """The quantities at a parameter x."""
        alone = replace(self.law, terms=(self.term,))
        return alone.evaluate({self.name: x})

    def along(self, x: Any, g: Any) -> Any:
        """Their derivatives at x along g."""
        return (self.values(x + g) - self.values(x - g)) / 2

    def labels(self) -> list[str]:
        """A name for each quantity."""
        return [f"{self.term.slot} in {self.law.name}, {i}" for i in range(self.size)]


def dictionary(shapes: Mapping[str, Sequence[int]]) -> list[Candidates]:
    """All candidates for parameters of these shapes."""
    found = []
    for name, shape in shapes.items():
        own = tuple(shape)
        found.append(Candidates(name, own))
        # Axes behind the second are places in a kernel.
        found += [Candidates(name, own, axis) for axis in range(min(len(own), 2))]
        if len(own) == 3:
            found += [Candidates(name, own, axis, inside=True) for axis in (1, 2)]
    return found


def values(candidates: Sequence[Candidates], theta: Mapping[str, torch.Tensor]) -> np.ndarray:
    """All quantities at one point."""
    return np.concatenate([each.values(theta[each.name]).numpy() for each in candidates])


def along(
    candidates: Sequence[Candidates],
    theta: Mapping[str, torch.Tensor],
    gradient: Mapping[str, torch.Tensor],
) -> np.ndarray:
    """Their derivatives along a gradient."""
    return np.concatenate([
        each.along(theta[each.name], gradient[each.name]).numpy() for each in candidates
    ])  # fmt: skip
