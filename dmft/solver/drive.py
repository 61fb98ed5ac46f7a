"""What drives one side of the mean field: noise coloured by the other side, and an echo of itself.

The outputs of a side (weights sqrt(s) w of coordinates, slopes r of samples) at all nodes factor
into Y = L Q, with orthonormal directions Q over its paths. The other side sees noise of covariance
L L^T, with one standard normal z_k per direction. In return the responses of the other side act on
paths that live in the span of Q, and by Stein's identity (R Y)_i = sum_k (R L)_ik q_k needs only
moments of the other side's outputs with its own noise:
    drive_i = a sum_k L'_ik z_k + a^2 sum_k E[output'_i z'_k] q_k / a',
primes marking the other side; a = 1 for samples, sqrt(delta) for coordinates.
An output older than a direction of noise is independent of it: those moments are set to zero.

Source: theory of conditioning on the paths seen so far, Bolthausen, Commun. Math. Phys. 325 (2014)
and Lu, arXiv 2101.07464 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.noise import NewRows, NoiseBasis

_LAST_FIRST = slice(None, None, -1)  # the last stage, whose direction matters most, first


class Paths(Protocol):
    """Where a side's noise comes from: `PathSet` or `DataRows`."""

    count: int
    probability: np.ndarray

    def innovations(self, directions: int) -> np.ndarray: ...

    def use(self, directions: int) -> None: ...


@dataclass(frozen=True)
class DriveRows:
    """The drive of one side on the stages of a panel.

    known, fresh : rows of L', the noise on earlier and new directions of the other side,
        (stages, rank') and (stages, stages).
    echo : coefficients of the echo on the earlier directions of this side, without what the panel
        itself answers, (stages, rank).
    response : R_d, how the panel itself answers to this side's outputs, (stages, stages).
    """

    known: np.ndarray
    fresh: np.ndarray
    echo: np.ndarray
    response: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Stages that have a noise direction of their own, shape (stages,)."""
        return np.diag(self.fresh) != 0.0

    def flat(self) -> np.ndarray:
        """All of them side by side, one row per stage, as one vector."""
        return np.hstack([self.response, self.known, self.fresh, self.echo]).ravel()

    def like(self, flat: np.ndarray) -> DriveRows:
        """The rows whose `flat` is given."""
        widths = np.cumsum([part.shape[1] for part in (self.response, self.known, self.fresh)])
        response, known, fresh, echo = np.split(flat.reshape(STAGES, -1), widths, axis=1)
        return DriveRows(known, fresh, echo, response)


class Drive:
    """Directions of one side, its noise, and the moments of both.

    Attributes
    ----------
    rank : number of directions of this side.
    noise : z_k of every path, one column per direction of the other side.
    """

    def __init__(self, paths: Paths, scale: float, least: float) -> None:
        """scale : a. least : what a node must add, relative to its size, to get a direction."""
        self._paths = paths
        self._scale = scale
        self._least = least
        self._root = np.sqrt(paths.probability)[:, None]
        self._basis = NoiseBasis(self._root[:, 0], 0.0)
        self._moments = np.zeros((0, 0))  # <q_l, z_k>, nonzero for q_l no older than z_k
        self.noise = np.empty((paths.count, 0))

    @property
    def rank(self) -> int:
        """Number of directions of this side."""
        return self._basis.rank

    @property
    def directions(self) -> np.ndarray:
        """q of every path, orthonormal under the probability, shape (paths, rank)."""
        return self._basis.paths / self._root

    def fresh_noise(self, nodes: int = STAGES) -> np.ndarray:
        """Noise of the directions that new nodes may add, one column per node."""
        return self._paths.innovations(nodes)[:, _LAST_FIRST]

    def rows(self, outputs: np.ndarray, active: np.ndarray | None = None) -> NewRows:
        """Factor the outputs (paths, nodes) of new nodes.

        active : nodes that get a direction whatever they add, all by default, (nodes,).
        """
        return self._basis.rows(outputs, self._least, active)

    def values(self, rows: DriveRows, fresh_noise: np.ndarray) -> np.ndarray:
        """The drive of every path without the answer of the panel itself, (paths, stages)."""
        noise = self.noise @ rows.known.T + fresh_noise @ rows.fresh.T
        echo = (self._basis.paths @ rows.echo.T) / self._root
        return self._scale * noise + self._scale**2 * echo

    def moments(self, found: NewRows) -> np.ndarray:
        """R L of the other side's echo: E[output z_k] / a over its earlier directions."""
        mixed = (self._root * found.directions[:-1]).T @ self.noise
        return (found.known @ self._moments + found.fresh @ mixed) / self._scale

    def learn(self, noise: np.ndarray) -> None:
        """Take the noise of directions of the other side, (paths, directions), as independent."""
        self.noise = np.hstack([self.noise, noise])
        self._moments = np.pad(self._moments, ((0, 0), (0, noise.shape[1])))

    def extend(self, found: NewRows, other_active: np.ndarray) -> None:
        """Keep new directions of this side, and the noise of the other side's new directions."""
        chosen = np.flatnonzero(other_active[_LAST_FIRST])
        if chosen.size:
            self.learn(self._paths.innovations(len(other_active))[:, chosen[::-1]])
            self._paths.use(int(chosen[-1]) + 1)
        directions = found.directions[:, found.active]
        moments = (self._root * directions[:-1]).T @ self.noise
        self._moments = np.vstack([self._moments, moments])
        self._basis.extend(replace(found, directions=directions))
