"""The noise of one side of the mean field: directions of its outputs, normals that drive its paths.

Outputs of a side at all nodes factor into Y = L Q (noise.py). What they drive sees noise of
covariance L L^T, with one standard normal per direction on each of its paths. The residuals of the
squared loss have no paths of their own: coordinates feel noise of their own directions.

This is the noise of marches on panels and of steps with tangents, exact and ever growing. Steps
without tangents keep a bounded one (folded_noise.py), where a direction and its normal, on paths of
the other side, are folded together.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dmft.solver.noise import NoiseBasis

_LAST_FIRST = slice(None, None, -1)  # the last stage, whose direction matters most, first


class Paths(Protocol):
    """Where a side's noise comes from: `PathSet` or `DataRows`."""

    count: int
    strata: list[slice]
    probability: np.ndarray

    def innovations(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (count, directions)."""
        ...

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        ...


class Drive:
    """Directions of one side and the normals on its paths.

    Attributes
    ----------
    basis : the directions of this side's outputs.
    normals : z_k of every path, one column for each direction that drives it.
    """

    def __init__(self, paths: Paths, label_std: float = 0.0, *, numbered: bool = False) -> None:
        """label_std : of noise that all outputs share, on no path.

        numbered : every node takes a normal of its own, in order and whether it needs one or not,
            so that direction k is the same in all replicates (a plan rotates them, pilot.py).
        """
        self._paths = paths
        self._order = slice(None) if numbered else _LAST_FIRST
        self._numbered = numbered
        self.basis = NoiseBasis(np.sqrt(paths.probability), label_std)
        self.normals = np.empty((paths.count, 0))

    def fresh(self, nodes: int) -> np.ndarray:
        """Normals of the directions that new nodes may add, one column per node."""
        return self._paths.innovations(nodes)[:, self._order]

    def noise(self, known: np.ndarray, fresh: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Noise of new nodes on every path, (paths, nodes).

        known, fresh : rows of L on earlier and new directions. normals : of `fresh`.
        """
        return self.normals @ known.T + normals @ fresh.T

    def drawn(self, active: np.ndarray) -> np.ndarray:
        """Use up the normals of new nodes, (paths, directions); active : nodes that need one."""
        nodes = len(active)
        wanted = np.ones(nodes, dtype=bool) if self._numbered else active
        chosen = np.flatnonzero(wanted[self._order])
        if not chosen.size:
            return np.empty((self._paths.count, 0))
        normals = self._paths.innovations(nodes)[:, chosen[self._order]]
        self._paths.use(int(chosen[-1]) + 1)
        return normals

    def take(self, normals: np.ndarray) -> None:
        """Keep the normals of directions, (paths, directions)."""
        self.normals = np.hstack([self.normals, normals])
