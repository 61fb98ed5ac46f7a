"""Overlap kernels of independent replicates, kept so that functions of them have error bars.

The cosine of two overlaps is no mean over replicates, and the standard errors of single entries
of a kernel say nothing about how they vary together. So the kernels themselves are kept, added up
in a few blocks of replicates however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCKS = 16


@dataclass(frozen=True, eq=False)
class OverlapBlocks:
    """Sums of overlap kernels over the replicates of each block.

    weights : sum of E[w(t) w(s)], shape (block, time, time).
    parameters : sum of E[u(t) u(s) + v(t) v(s)], likewise; None but for networks of depth 2.
    sizes : number of replicates in each block, shape (block,).
    """

    weights: np.ndarray
    parameters: np.ndarray | None
    sizes: np.ndarray


class BlockSums:
    """Running sums: replicate r goes to block r mod 16."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, list[np.ndarray]] = {}

    def add(self, **kernels: np.ndarray | None) -> None:
        """Add the kernels of one replicate; those that are None are left out."""
        block = self.count % BLOCKS
        for name, kernel in kernels.items():
            if kernel is None:
                continue
            sums = self._sums.setdefault(name, [])
            if block < len(sums):
                sums[block] = sums[block] + kernel
            else:
                sums.append(kernel)
        self.count += 1

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, as a tree of arrays and numbers."""
        return {"count": self.count, **{n: np.array(sums) for n, sums in self._sums.items()}}

    @classmethod
    def from_state(cls, tree: Mapping[str, Any]) -> BlockSums:
        """The inverse of `state`."""
        sums = cls()
        sums.count = tree["count"]
        sums._sums = {name: list(stack) for name, stack in tree.items() if name != "count"}
        return sums

    def blocks(self) -> OverlapBlocks:
        """What was added up; call it after at least one `add`."""
        sizes = np.array([len(range(b, self.count, BLOCKS)) for b in range(BLOCKS)])
        parameters = self._sums.get("parameters")
        return OverlapBlocks(
            weights=np.array(self._sums["weights"]),
            parameters=None if parameters is None else np.array(parameters),
            sizes=sizes[sizes > 0],
        )
