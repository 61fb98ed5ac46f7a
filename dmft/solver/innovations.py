"""Fresh normal noise on the paths of one side, orthogonal to everything known before.

In a finite sample a new noise direction correlates by accident with what the paths already know,
and a march feeds on that. So new directions are made, inside each stratum of the weighted sample,
orthogonal to all functions that paths have learnt, to all earlier directions, and to each other.
"""

from __future__ import annotations

import math

import numpy as np

_EXACT = 1e-8  # relative size of what orthogonalisation leaves that still counts as new
_LARGEST_SHARE = 0.5  # of a stratum's size that its basis may take
_AT_ONCE = 9  # directions made orthogonal at a time, as they are asked for
_LARGEST_LEVERAGE = 30.0  # of a path in a basis vector, times the number of paths


class Innovations:
    """Noise directions of one side, handed out in order.

    normals : low-discrepancy normals of the first directions, shape (paths, dimensions).
    shares : weight of every path inside its stratum, each stratum's summing to 1.
    strata : the slice of paths of each stratum.
    generators : one per stratum, for directions beyond the first.
    rotation : orthogonal, its rows the directions by weight; the identity if None.
    """

    def __init__(
        self,
        normals: np.ndarray,
        shares: np.ndarray,
        strata: list[slice],
        generators: list[np.random.Generator],
        rotation: np.ndarray | None = None,
    ) -> None:
        self._normals = normals
        self._block = normals.shape[1]
        self._root_share = np.sqrt(shares)  # functions times this are orthogonal as plain vectors
        self._strata = strata
        self._generators = generators
        self._rotation = rotation
        self._known = [self._root_share[chosen, None] for chosen in strata]
        self._drawn = np.empty((len(normals), 0))  # not yet orthogonal to what is known
        self._noise = np.empty((len(normals), 0))
        self._used = 0

    def learn(self, function: np.ndarray, leverage: float = _LARGEST_LEVERAGE) -> None:
        """Add a function of the paths, shape (paths,), to what noise must not see.

        leverage : times the mean square of what is new in it, the largest square it may have.
        """
        if self._drawn.size:
            self._noise = np.hstack([self._noise, self._clean(self._drawn.shape[1])])
        for index, chosen in enumerate(self._strata):
            column = (self._root_share * function)[chosen, None]
            self._known[index] = extended_basis(self._known[index], column, leverage)[0]

    def next(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (paths, directions), standard normal up to its refinements.

        Asking again gives the same noise until `use` consumes it.
        """
        while self._used + directions > self._noise.shape[1]:
            self._noise = np.hstack([self._noise, self._more()])
        return self._noise[:, self._used : self._used + directions]

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        self._used += directions

    def _more(self) -> np.ndarray:
        """Noise of further directions, in every stratum of unit covariance, orthogonal to the rest.

        Orthogonalisation goes from the most uniform dimension to the least, so that the first
        stay what they are; then come the directions of the march.
        """
        if self._rotation is not None:
            rotation, self._rotation = self._rotation, None
            self._draw(len(rotation))
            return self._clean(len(rotation)) @ rotation
        if not self._drawn.shape[1]:
            self._draw(self._block)
        return self._clean(min(_AT_ONCE, self._drawn.shape[1]))

    def _draw(self, directions: int) -> None:
        """Normals that are orthogonal to nothing yet: low-discrepancy ones, then random ones."""
        normals, self._normals = self._normals, self._normals[:, :0]
        missing = max(0, directions - normals.shape[1])
        more = [
            generator.standard_normal((chosen.stop - chosen.start, missing))
            for generator, chosen in zip(self._generators, self._strata, strict=True)
        ]
        self._drawn = np.hstack([normals, np.concatenate(more)])[:, :directions]

    def _clean(self, directions: int) -> np.ndarray:
        """The first of the drawn normals, orthogonal to all that is known, which they then are."""
        columns, self._drawn = np.split(self._drawn, [directions], axis=1)
        noise = np.empty_like(columns)
        for index, chosen in enumerate(self._strata):
            root = self._root_share[chosen, None]
            self._known[index], clean = extended_basis(self._known[index], root * columns[chosen])
            noise[chosen] = clean / root
        return noise


def extended_basis(
    basis: np.ndarray, columns: np.ndarray, leverage: float = _LARGEST_LEVERAGE
) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis with more columns, and these columns made orthogonal to all before.

    Columns are taken from left to right and come back with unit length. Noise needs room to be
    random, and noise orthogonal to a function that lives on a few paths would vanish on them: the
    basis takes neither such columns nor more than a share of its length; columns beyond that are
    orthogonal to the basis, not to each other.
    """
    count, known = basis.shape
    room = np.empty((count, known + columns.shape[1]), order="F")
    room[:, :known] = basis
    clean = np.zeros_like(columns)
    for k, column in enumerate(columns.T):
        rest = _remove(room[:, :known], column)
        length = math.sqrt(rest @ rest)
        if length <= _EXACT * math.sqrt(column @ column):
            continue
        rest /= length
        clean[:, k] = rest
        if np.max(rest**2) < leverage / count and known < _LARGEST_SHARE * count:
            room[:, known] = rest
            known += 1
    return room[:, :known], clean


def _remove(basis: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Project out an orthonormal basis, twice for stability."""
    rest = columns - basis @ (basis.T @ columns)
    return rest - basis @ (basis.T @ rest)
