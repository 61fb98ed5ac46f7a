"""Normals for ever more directions: refined ones at first, then fresh ones in blocks.

The first are those of the paths' own sample (low-discrepancy points, rotated by a pilot, orthogonal
to all that went before). A march that has folded its directions goes on with plain normals, which
are made orthogonal in every stratum to what paths were drawn by and to the normals still in use:
what is forgotten binds nobody, and the cost of a normal stays what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dmft.solver.drive import Paths

_BLOCK = 64


class NormalSupply:
    """The normals of one side's paths, handed out one by one.

    paths : whose noise comes first. seed : of what comes after it.
    learnt : functions of the paths that noise must not see, shape (functions, paths).
    """

    def __init__(self, paths: Paths, seed: np.random.SeedSequence, learnt: np.ndarray) -> None:
        self._paths = paths
        self._seed = seed
        self._learnt = learnt
        self._refined, self._blocks, self._next = 0, 0, 0
        self._fresh = False
        self._block = np.empty((0, paths.count))

    def one(self, used: np.ndarray) -> np.ndarray:
        """The next normal, shape (paths,), beside those in use, shape (used, paths)."""
        if not self._fresh:
            self._refined += 1
            column = self._paths.innovations(1)[:, 0].copy()
            self._paths.use(1)
            return column
        if self._next == len(self._block):
            self._renew(used)
        self._next += 1
        return self._block[self._next - 1]

    def forget(self) -> None:
        """From here on, normals are orthogonal to those in use only."""
        self._fresh = True

    def _renew(self, used: np.ndarray) -> None:
        """A block of fresh normals orthogonal to those in use."""
        entropy = (*self._seed.spawn_key, self._blocks)
        generator = np.random.default_rng(
            np.random.SeedSequence(self._seed.entropy, spawn_key=entropy)
        )
        self._blocks, self._next = self._blocks + 1, 0
        self._block = generator.standard_normal((_BLOCK, self._paths.count))
        for stratum in self._paths.strata:
            share = self._paths.probability[stratum]
            root = np.sqrt(share / share.sum())
            known = np.vstack([np.ones((1, len(root))), self._learnt[:, stratum], used[:, stratum]])
            known = (known * root)[: len(root) // 2]
            basis = np.linalg.qr(known.T)[0]
            fresh = (self._block[:, stratum] * root).T
            fresh -= basis @ (basis.T @ fresh)
            fresh -= basis @ (basis.T @ fresh)
            if fresh.shape[1] <= len(root) - basis.shape[1]:
                triangle = np.linalg.qr(fresh)
                fresh = triangle[0] * np.sign(np.diag(triangle[1]))
            else:
                fresh /= np.linalg.norm(fresh, axis=0)
            self._block[:, stratum] = fresh.T / root

    def state(self) -> dict[str, Any]:
        """Everything needed to continue."""
        return {
            "refined": self._refined,
            "fresh": int(self._fresh),
            "blocks": self._blocks,
            "next": self._next,
            "block": self._block.copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`, of normals of the same paths, fewer of them handed out."""
        missing = int(state["refined"]) - self._refined
        self._refined, self._blocks = int(state["refined"]), int(state["blocks"])
        self._fresh = bool(state["fresh"])
        self._next, self._block = int(state["next"]), np.array(state["block"])
        for _ in range(missing):
            self._paths.innovations(1)
            self._paths.use(1)
