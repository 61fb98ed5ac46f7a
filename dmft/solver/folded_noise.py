"""The noise of one side of the tangent-free mean field: directions with normals on the other side.

Rows of one side, functions y_k of its paths whose covariance colours the noise that the other side
feels, are y_k = sum_i L_ki q_i with orthonormal directions q_i; the noise is sum_i L_ki z_i with
independent standard normals z_i on the paths of the other side. A row adds a direction only for
what is new in it, so there are far fewer directions than rows as long as rows are smooth in time.
Where noise comes in with every step each row is news, but what later rows need of old directions
is of low rank: `fold` keeps the combinations that recent rows use, of functions and normals alike.
A `Drive` (drive.py) is the other kind of noise: it takes panels of rows at a time and forgets
nothing, and its normals, on the paths of its own side, belong to another list of directions.
"""

from __future__ import annotations

import numpy as np

# Part of a row that must be new for a direction: below, curves do not change, the cost grows and
# the scatter of replicates with it (docs/optimisers.md).
NEWS = 1e-5
_SMALL = 1e-8


class FoldedNoise:
    """Orthonormal functions on one side and as many normals on the other.

    Attributes
    ----------
    count : directions in use.
    functions : shape (capacity, own), orthonormal rows, weighted by the root of the probability.
    normals : shape (capacity, other).
    white : whether a direction is fresh noise, not a row's news, shape (capacity,).
    """

    def __init__(self, capacity: int, own: int, other: int) -> None:
        self.count = 0
        self.functions = np.zeros((capacity, own))
        self.normals = np.zeros((capacity, other))
        self.white = np.zeros(capacity, dtype=bool)

    @property
    def full(self) -> bool:
        """Whether one step may need more room than there is."""
        return self.count + 2 > len(self.functions)

    def known(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Coefficients of a row on the directions so far, and what is new in it, if anything.

        row : shape (own,). The news come back with their length, to be made a direction by `add`.
        """
        functions = self.functions[: self.count]
        coefficients = functions @ row
        square = float(row @ row)
        left = square - float(coefficients @ coefficients)
        if not left > (0.5 * NEWS) ** 2 * square:  # the difference is good to 1e-15 of the square
            return coefficients, None
        rest = row - coefficients @ functions
        again = functions @ rest
        rest -= again @ functions
        news = float(np.sqrt(rest @ rest)) > NEWS * np.sqrt(square)
        return coefficients + again, rest if news else None

    def unseen(self, normal: np.ndarray, root: np.ndarray) -> np.ndarray:
        """A fresh normal without what a finite sample lets it see of the functions by accident.

        normal, root : on the paths of the functions, whose other entries are not on paths.
        """
        own, rest = np.split(self.functions[: self.count], [len(normal)], axis=1)
        left = np.maximum(1.0 - np.sum(rest**2), _SMALL)  # own own^T = 1 - rest rest^T
        clean = root * normal
        size = np.sqrt(clean @ clean)
        for _ in range(2):
            coefficients = own @ clean
            coefficients += rest @ (rest.T @ coefficients) / left
            clean -= coefficients @ own
        return np.asarray(clean * (size / np.sqrt(clean @ clean)) / root)

    def add(self, function: np.ndarray, normal: np.ndarray, white: bool = False) -> None:
        """A new direction along `function` (own,), with its normal (other,)."""
        size = np.sqrt(function @ function)
        self.functions[self.count] = function / size if size > 0.0 else 0.0
        self.normals[self.count] = normal
        self.white[self.count] = white
        self.count += 1

    def fold(self, old: int, rows: np.ndarray, kept: int) -> np.ndarray:
        """Replace the first `old` directions by at most 2 `kept` combinations of them.

        rows : what recent rows have on all directions, shape (rows, count). Their leading right
            singular vectors stay, `kept` of the directions of rows and `kept` of white ones.
        Returns the map of coefficients from old to new directions, shape (new count, count).
        """
        combinations = []
        for white in (False, True):
            chosen = np.flatnonzero(self.white[:old] == white)
            leading = np.linalg.svd(rows[:, chosen], full_matrices=False)[2][:kept]
            block = np.zeros((len(leading), self.count))
            block[:, chosen] = leading
            combinations.append((block, white))
        recent = np.eye(self.count)[old:]
        change = np.vstack([block for block, _ in combinations] + [recent])
        kinds = np.concatenate(
            [np.full(len(block), of_noise) for block, of_noise in combinations]
            + [self.white[old : self.count]]
        )
        for array in (self.functions, self.normals):
            array[: len(change)] = change @ array[: self.count]
            array[len(change) :] = 0.0
        self.white[: len(change)] = kinds
        self.count = len(change)
        return change

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to continue."""
        return {
            "functions": self.functions[: self.count].copy(),
            "normals": self.normals[: self.count].copy(),
            "white": self.white[: self.count].copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        self.count = len(state["white"])
        for name, values in state.items():
            getattr(self, name)[: self.count] = values
