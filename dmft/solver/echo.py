"""What drives one side of the mean field: noise coloured by the other side, and an echo of itself.

The outputs of a side (weights sqrt(s) w of coordinates, slopes r of samples) at all nodes factor
into Y = L Q, with orthonormal directions Q over its paths. The other side sees noise of covariance
L L^T, with one standard normal z_k per direction (drive.py). In return the responses of the other
side act on paths that live in the span of Q, and by Stein's identity (R Y)_i = sum_k (R L)_ik q_k
needs only moments of the other side's outputs with its own noise:
    drive_i = a sum_k L'_ik z_k + a^2 sum_k E[output'_i z'_k] q_k / a',
primes marking the other side; a = 1 for samples, sqrt(delta) for coordinates.
An output older than a direction of noise is independent of it: those moments are set to zero.

Source: theory of conditioning on the paths seen so far, Bolthausen, Commun. Math. Phys. 325 (2014)
and Lu, arXiv 2101.07464 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.drive import Drive, Paths
from dmft.solver.noise import NewRows


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


class EchoDrive:
    """The drive of one side whose other side is sampled: its noise, and moments for the echo."""

    def __init__(self, paths: Paths, scale: float, least: float) -> None:
        """scale : a. least : what a node must add, relative to its size, to get a direction."""
        self._drive = Drive(paths, numbered=True)
        self._scale = scale
        self._least = least
        self._root = np.sqrt(paths.probability)[:, None]
        self._moments = np.zeros((0, 0))  # <q_l, z_k>, nonzero for q_l no older than z_k
        self._numbers = np.zeros(0, dtype=int)  # of z_k among the normals drawn; learnt have none
        self._drawn = 0

    @property
    def rank(self) -> int:
        """Number of directions of this side."""
        return self._drive.basis.rank

    @property
    def noise(self) -> np.ndarray:
        """z_k of every path, one column per direction of the other side."""
        return self._drive.normals

    @property
    def directions(self) -> np.ndarray:
        """q of every path, orthonormal under the probability, shape (paths, rank)."""
        return self._drive.basis.paths / self._root

    def fresh_noise(self, nodes: int = STAGES) -> np.ndarray:
        """Noise of the directions that new nodes may add, one column per node."""
        return self._drive.fresh(nodes)

    def rows(self, outputs: np.ndarray, active: np.ndarray | None = None) -> NewRows:
        """Factor the outputs (paths, nodes) of new nodes.

        active : nodes that get a direction whatever they add, all by default, (nodes,).
        """
        return self._drive.basis.rows(outputs, self._least, active)

    def values(self, rows: DriveRows, fresh_noise: np.ndarray) -> np.ndarray:
        """The drive of every path without the answer of the panel itself, (paths, stages)."""
        noise = self._drive.noise(rows.known, rows.fresh, fresh_noise)
        echo = (self._drive.basis.paths @ rows.echo.T) / self._root
        return self._scale * noise + self._scale**2 * echo

    def moments(self, found: NewRows) -> np.ndarray:
        """R L of the other side's echo: E[output z_k] / a over its earlier directions."""
        mixed = (self._root * found.directions[:-1]).T @ self.noise
        return (found.known @ self._moments + found.fresh @ mixed) / self._scale

    def responses(self, outputs: np.ndarray) -> np.ndarray:
        """What this side's outputs at all nodes take from each normal drawn, (nodes, normals)."""
        learnt = self.noise.shape[1] - len(self._numbers)
        found = np.zeros((outputs.shape[1], self._drawn))
        loading = (self._root * outputs).T @ self._drive.basis.paths
        found[:, self._numbers] = loading @ self._moments[:, learnt:]
        return found

    def learn(self, noise: np.ndarray) -> None:
        """Take the noise of directions of the other side, (paths, directions), as independent."""
        self._drive.take(noise)
        self._moments = np.pad(self._moments, ((0, 0), (0, noise.shape[1])))

    def extend(self, found: NewRows, other_active: np.ndarray) -> None:
        """Keep new directions of this side, and the noise of the other side's new directions."""
        noise = self._drive.drawn(other_active)[:, other_active]
        self._numbers = np.append(self._numbers, self._drawn + np.flatnonzero(other_active))
        self._drawn += len(other_active)
        if noise.shape[1]:
            self.learn(noise)
        directions = found.directions[:, found.active]
        moments = (self._root * directions[:-1]).T @ self.noise
        self._moments = np.vstack([self._moments, moments])
        self._drive.basis.extend(directions)
