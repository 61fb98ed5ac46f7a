"""Fresh normal noise on the paths of steps, orthogonal inside bins of paths that move alike.

What residuals answer are averages of products of two normals, weighted by how easily a path moves.
Normals orthogonal in a whole stratum still correlate by accident on the few paths that move most;
made orthogonal in each of a few bins of such paths, they do not: a vanishing train_mse scatters by
a third less (docs/optimisers.md). The first direction of a stratum tells its paths apart, or the
size of their teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.solver.innovations import extended_basis

_BINS, _LEAST_BIN = 8, 256  # bins of a stratum, and the fewest paths of each
_LARGEST_SHARE = 0.5  # of a bin's size that its basis may take
_AT_ONCE = 32  # directions made orthogonal at a time, as they are asked for


@dataclass
class _Bin:
    """Some paths, the roots of their shares and an orthonormal basis of what noise must not see.

    paths : their indices, shape (n,). root : of shares that sum to 1, shape (n, 1).
    basis : shape (n, functions), weighted by `root`.
    """

    paths: np.ndarray
    root: np.ndarray
    basis: np.ndarray

    def cleaned(self, columns: np.ndarray) -> np.ndarray:
        """Normals (n, directions) made orthogonal to the basis, which takes them in."""
        rest = self.root * columns
        for _ in range(2):
            rest -= self.basis @ (self.basis.T @ rest)
        room = max(0, int(_LARGEST_SHARE * len(rest)) - self.basis.shape[1])
        triangle = np.linalg.qr(rest[:, :room])
        fresh = triangle[0] * np.where(np.diag(triangle[1]) < 0.0, -1.0, 1.0)
        self.basis = np.hstack([self.basis, fresh])
        # Noise needs room to be random: beyond it, directions are not orthogonal to each other.
        left = rest[:, room:] - fresh @ (fresh.T @ rest[:, room:])
        left /= np.linalg.norm(left, axis=0)
        return np.hstack([fresh, left]) / self.root

    def split(self, sizes: np.ndarray) -> list[_Bin]:
        """Bins of as many paths each, from the smallest sizes (n,) to the largest."""
        number = min(_BINS, len(sizes) // _LEAST_BIN)
        if number < 2:
            return [self]
        functions, bins = self.basis / self.root, []
        for chosen in np.array_split(np.argsort(sizes, kind="stable"), number):
            chosen = np.sort(chosen)
            root = self.root[chosen] / np.linalg.norm(self.root[chosen])
            basis = extended_basis(root, root * functions[chosen])[0]
            bins.append(_Bin(self.paths[chosen], root, basis))
        return bins


class BinnedInnovations:
    """Noise directions of one side, handed out in order; see `Innovations`.

    normals : low-discrepancy normals of the first directions, shape (paths, dimensions).
    shares : weight of every path inside its stratum, each stratum's summing to 1.
    strata : the slice of paths of each stratum.
    generators : one per stratum, for directions beyond the first.
    rotation : orthogonal, its rows the directions by weight; None makes no bins.
    teacher : w* of every path, shape (paths,).
    """

    def __init__(
        self,
        normals: np.ndarray,
        shares: np.ndarray,
        strata: list[slice],
        generators: list[np.random.Generator],
        rotation: np.ndarray | None,
        teacher: np.ndarray,
    ) -> None:
        self._normals = normals
        self._strata = strata
        self._generators = generators
        self._rotation = rotation
        self._teacher = teacher
        self._bins = []
        for stratum in strata:
            root = np.sqrt(shares[stratum, None])
            self._bins.append(_Bin(np.arange(stratum.start, stratum.stop), root, root))
        self._noise = np.empty((len(normals), 0))
        self._used = 0

    def learn(self, function: np.ndarray) -> None:
        """Add a function of the paths, shape (paths,), to what noise must not see, at the start."""
        for each in self._bins:
            column = each.root * function[each.paths, None]
            each.basis = extended_basis(each.basis, column)[0]

    def next(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (paths, directions), standard normal up to its refinements.

        Asking again gives the same noise until `use` consumes it.
        """
        while self._used + directions > self._noise.shape[1]:
            more = self._more() if self._noise.shape[1] else self._first()
            self._noise = np.hstack([self._noise, more])
        return self._noise[:, self._used : self._used + directions]

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        self._used += directions

    def _first(self) -> np.ndarray:
        """Low-discrepancy normals, from the most uniform dimension to the least, rotated."""
        rotation = self._rotation
        if rotation is None:
            return self._cleaned(self._normals)
        missing = max(0, len(rotation) - self._normals.shape[1])
        normals = np.hstack([self._normals, self._drawn(missing)])[:, : len(rotation)]
        leading = self._cleaned(normals[:, :1])
        split = []
        for each in self._bins:
            teacher = self._teacher[each.paths]
            sizes = teacher if np.ptp(teacher) > 0.0 else leading[each.paths, 0]
            split += each.split(np.abs(sizes))
        self._bins = split
        return np.hstack([leading, self._cleaned(normals[:, 1:])]) @ rotation

    def _more(self) -> np.ndarray:
        return self._cleaned(self._drawn(_AT_ONCE))

    def _drawn(self, directions: int) -> np.ndarray:
        """Random normals that are orthogonal to nothing yet."""
        drawn = [
            generator.standard_normal((chosen.stop - chosen.start, directions))
            for generator, chosen in zip(self._generators, self._strata, strict=True)
        ]
        return np.concatenate(drawn)

    def _cleaned(self, columns: np.ndarray) -> np.ndarray:
        noise = np.empty_like(columns)
        for each in self._bins:
            noise[each.paths] = each.cleaned(columns[each.paths])
        return noise
