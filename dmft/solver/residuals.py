"""The sample side of steps: what the data answer to the weights, without any tangent.

With directions q_i of the rows of the weights, normals z_i on the other side and w_k = sum_i L_ki
q_i, Stein's identity gives every echo as an average over paths (docs/optimisers.md): E[w_k z_d] =
sum_i L_ki <q_i, z_d>. A direction knows nothing of the normals that are drawn after it, so that
<q_i, z_d> is 0 for them, exactly: only causal entries are averaged. `LinearResiduals` needs no
paths of the sample side, as the residual of the squared loss is a linear functional.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dmft.problem import Problem
from dmft.problem.networks import LINEAR
from dmft.results.observables import Samples
from dmft.solver.folded_noise import FoldedNoise
from dmft.solver.normal_supply import NormalSupply
from dmft.solver.sampling import PathSet

RECENT = 64  # rows from which the combinations that directions are folded into are found


@dataclass(frozen=True)
class Room:
    """Directions that a march holds at most.

    When all are in use, the `newest` of them stay as they are, and the others are folded into
    `kept` combinations of each kind (folded_noise.py).
    """

    capacity: int
    newest: int
    kept: int


# What a row has on an old direction is known up to a sampling error, and hundreds of directions of
# batches, of which later rows need few combinations, bias a vanishing train_mse by as many of them.
# On the linear network these errors are none.
ROOM, ROOM_OF_BATCHES = Room(192, 64, 32), Room(96, 48, 16)


def crowded(problem: Problem) -> bool:
    """Whether every step adds directions that are best folded soon."""
    return Batches.of(problem.dynamics).noisy and problem.network.code != LINEAR


def room_of(problem: Problem) -> Room:
    """That of steps of a problem."""
    return ROOM_OF_BATCHES if crowded(problem) else ROOM


@dataclass(frozen=True)
class Batches:
    """How steps see samples: multiplicities m of mean q = `fraction` and variance q `spread`.

    noise_std : of fresh noise on the labels.
    """

    fraction: float
    spread: float
    noise_std: float

    @classmethod
    def of(cls, dynamics: Any) -> Batches:
        """Those of some discrete dynamics; full batches where it knows of none."""
        fraction = float(getattr(dynamics, "batch_fraction", 1.0))
        repeats = getattr(dynamics, "sampling", "") == "with-replacement"
        return cls(
            fraction,
            1.0 if repeats else 1.0 - fraction,
            float(getattr(dynamics, "label_noise_std", 0.0)),
        )

    @property
    def noisy(self) -> bool:
        """Whether a step differs from that of all samples."""
        return self.spread > 0.0 or self.noise_std > 0.0

    def variance(self, train_mse: float) -> float:
        """Of (m/q) (r - noise) about r, for the squared loss (docs/finite-steps.md)."""
        return (self.spread * train_mse + self.noise_std**2) / self.fraction


def amplifies(dynamics: Any) -> bool:
    """Whether steps remember or rescale gradients: errors of echoes grow where these vanish.

    Normals that see nothing of earlier functions in the sample either make the sampled steps
    descend: the echo of a step in itself is then a Gram matrix. Plain descent does not need
    it, and keeps normals that are as uniform as they were drawn (docs/optimisers.md).
    """
    return bool(dynamics.coordinatewise or dynamics.momentum > 0.0)


class Residuals(Protocol):
    """The answer of the data to one row of weights after another."""

    moment: float  # E[r^2] of the last row
    traced: bool  # whether to keep `echoes`
    echoes: list[np.ndarray]  # E[sqrt(s) w z] of every row, as long as no direction was folded
    row_echoes: list[np.ndarray]  # E[r z] likewise, z but the teacher's field; [] without paths

    @property
    def rank(self) -> int:
        """Directions in use."""
        ...

    @property
    def correlation(self) -> np.ndarray:
        """C_r of the kept rows of weights, shape (kept, kept)."""
        ...

    def force(self, weights: np.ndarray) -> np.ndarray:
        """The force on sqrt(s) w (paths,) that the present weights (paths,) call up."""
        ...

    def keep(self) -> None:
        """Store what is wanted of the present row."""
        ...

    def samples(self, problem: Problem) -> Samples | None:
        """Fields and losses of the kept rows of weights; None where no data rows are sampled."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything needed to continue."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        ...


class Rows:
    """Rows of coefficients on some directions, one after another.

    capacity : of directions.
    limit : how many are wanted; earlier ones are forgotten. All of them by default.
    """

    def __init__(self, capacity: int, limit: int | None = None) -> None:
        self._limit = limit
        self._count = 0
        self._room = np.zeros((4 * RECENT, capacity))

    @property
    def rows(self) -> np.ndarray:
        """Those that are wanted, shape (rows, capacity)."""
        return self._room[: self._count][-self._limit if self._limit else None :]

    @rows.setter
    def rows(self, rows: np.ndarray) -> None:
        self._room = np.vstack([rows, np.zeros((max(4 * RECENT, len(rows)), self._room.shape[1]))])
        self._count = len(rows)

    def add(self, *rows: np.ndarray) -> None:
        """Take in rows of any number of coefficients."""
        if self._count + len(rows) > len(self._room):
            self.rows = self.rows  # makes room
        for row in rows:
            self._room[self._count, : len(row)] = row
            self._count += 1

    def change(self, change: np.ndarray) -> None:
        """Rows on folded directions."""
        self.rows = fold_columns(change, self.rows)


def fold_columns(change: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Coefficients (rows, capacity) after directions were folded."""
    folded = np.zeros_like(rows)
    folded[:, : len(change)] = rows[:, : change.shape[1]] @ change.T
    return folded


class LinearResiduals:
    """Squared loss of linear labels.

    The residual's noise rho has the covariance of the rows (sqrt(s) (w - w*), sigma), and the
    residual is r = rho + R_w r: its coefficients are L_r = L + E[sqrt(s) w z] / sqrt(delta).

    moment : train_mse of the present row.
    correlation : C_r of the kept rows, shape (kept, kept).
    """

    def __init__(self, problem: Problem, path_set: PathSet, normals: NormalSupply) -> None:
        self._ratio = problem.sampling_ratio
        self._noise_std = problem.noise_std
        self._batches = Batches.of(problem.dynamics)
        self._root_variance = np.sqrt(path_set.coordinates.variance)
        self._teacher = self._root_variance * path_set.coordinates.teacher
        self._root = np.sqrt(path_set.probability)
        self._normals = normals
        self._room = room_of(problem)
        capacity = self._room.capacity
        self._directions = FoldedNoise(capacity, path_set.count + 1, path_set.count)
        self._table = np.zeros((capacity, capacity))  # <q_i, z_d>
        self._answers = np.zeros((capacity, path_set.count))  # of directions, on sqrt(s) w
        self._answered = 0
        self._recent, self._kept = Rows(capacity, 2 * RECENT), Rows(capacity)
        self._present = np.zeros(0)
        self._correlation: list[np.ndarray] = []
        self._blind = amplifies(problem.dynamics)
        self.moment = 0.0
        self.traced, self._folded = False, False
        self.echoes: list[np.ndarray] = []
        self.row_echoes: list[np.ndarray] = []

    def force(self, weights: np.ndarray) -> np.ndarray:
        """See `Residuals`."""
        directions, table = self._directions, self._table
        if directions.full:
            self._fold()
        error = self._root_variance * weights - self._teacher
        row = np.append(self._root * error, self._noise_std)
        loading, news = directions.known(row)
        if news is not None:
            self._extend(news)
            loading = np.append(loading, math.sqrt(news @ news))
        count = directions.count
        echo = (loading @ table[: len(loading), :count]) / math.sqrt(self._ratio)
        residual = loading + echo
        self._recent.add(loading, echo)
        if self.traced and not self._folded:
            self.echoes.append(echo)
        self._present = residual
        self.moment = float(residual @ residual)
        if self._batches.noisy:
            directions.add(np.zeros(len(row)), self._normal(count), white=True)
            residual = np.append(residual, math.sqrt(self._batches.variance(self.moment)))
        return np.asarray(residual @ self._answers_of(directions.count))

    @property
    def rank(self) -> int:
        """Directions in use."""
        return self._directions.count

    def _answers_of(self, count: int) -> np.ndarray:
        """What the residual's part along each direction does: sqrt(delta) z_i + delta q_i."""
        for i in range(self._answered, count):
            normal, function = self._directions.normals[i], self._directions.functions[i, :-1]
            self._answers[i] = math.sqrt(self._ratio) * normal
            self._answers[i] += self._ratio * function / self._root
        self._answered = count
        return self._answers[:count]

    def _extend(self, news: np.ndarray) -> None:
        directions = self._directions
        before = directions.count
        directions.add(news, np.zeros(directions.normals.shape[1]))
        directions.normals[before] = self._normal(before)
        weighted = self._root * directions.functions[before, :-1]
        self._table[before, :before] = directions.normals[:before] @ weighted

    def _normal(self, count: int) -> np.ndarray:
        """A normal beside the first ones, blind where that matters."""
        normal = self._normals.one(self._directions.normals[:count])
        return self._directions.unseen(normal, self._root) if self._blind else normal

    def _fold(self) -> None:
        directions = self._directions
        before = directions.count
        old = before - self._room.newest
        change = directions.fold(old, self._recent.rows[:, :before], self._room.kept)
        after = len(change)
        table = change @ self._table[:before, :before] @ change.T
        self._table[:] = 0.0
        self._table[:after, :after] = table
        self._recent.change(change)
        self._kept.change(change)
        self._answered = 0
        self._normals.forget()
        self._folded = True

    def keep(self) -> None:
        """See `Residuals`."""
        self._kept.add(self._present)
        count = len(self._present)
        self._correlation.append(self._kept.rows[:, :count] @ self._present)

    def samples(self, problem: Problem) -> None:
        """See `Residuals`: one residual stands for all."""

    @property
    def correlation(self) -> np.ndarray:
        lower = np.zeros((len(self._correlation),) * 2)
        for index, row in enumerate(self._correlation):
            lower[index, : index + 1] = row
        return lower + np.tril(lower, -1).T

    def state(self) -> dict[str, Any]:
        """See `Residuals`."""
        return {
            "directions": self._directions.state(),
            "table": self._table.copy(),
            "recent": self._recent.rows.copy(),
            "kept": self._kept.rows.copy(),
            "correlation": {str(i): row for i, row in enumerate(self._correlation)},
            "normals": self._normals.state(),
            "folded": int(self._folded),
            "echoes": {str(i): row for i, row in enumerate(self.echoes)},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Residuals`."""
        self._directions.restore(state["directions"])
        self._answered = 0
        self._table = np.array(state["table"])
        self._recent.rows = np.array(state["recent"])
        self._kept.rows = np.array(state["kept"])
        rows = state.get("correlation", {})
        self._correlation = [np.array(rows[str(i)]) for i in range(len(rows))]
        self._normals.restore(state["normals"])
        self._folded = bool(state["folded"])
        rows = state.get("echoes", {})
        self.echoes = [np.array(rows[str(i)]) for i in range(len(rows))]
