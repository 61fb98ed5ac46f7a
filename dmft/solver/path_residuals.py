"""The sample side of steps with paths of its own: any loss and any law of the labels.

A row of data has the field h = sum_k L_k z_k + sum_d E[w z_d]/sqrt(delta) q_d and the slope
r = l'(h, y) of its loss; a coordinate feels sqrt(delta) sum_d L^r_d z_d + delta sum_k E[r z_k] q_k,
with directions and normals of the weights (index k, the first of them the teacher and its field)
and of the slopes (index d). No derivative of the slope enters, so losses need not be smooth.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dmft.problem import Problem
from dmft.results.observables import Samples
from dmft.solver.data_rows import DataRows
from dmft.solver.folded_noise import FoldedNoise
from dmft.solver.losses import losses
from dmft.solver.normal_supply import NormalSupply
from dmft.solver.residuals import (
    RECENT,
    Batches,
    Rows,
    amplifies,
    fold_columns,
    room_of,
)
from dmft.solver.sampling import PathSet

_QUADRATURE = 24  # nodes of the average over fresh noise on the labels


class PathResiduals:
    """Slopes of the loss on sampled rows of the data.

    rows : the paths of this side. moment : E[r^2] of the present row of weights.
    kept_fields, kept_slopes : h and r on the stored steps, lists of shape (rows,) each.
    """

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        normals: NormalSupply,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None = None,
    ) -> None:
        """rotation : of the noise on the rows."""
        self._ratio = problem.sampling_ratio
        self._loss = problem.loss
        self._batches = Batches.of(problem.dynamics)
        self._root_variance = np.sqrt(path_set.coordinates.variance)
        self._root = np.sqrt(path_set.probability)
        teacher = self._root * self._root_variance * path_set.coordinates.teacher
        of_rows, self._batch_seed = seed.spawn(2)
        strength = math.sqrt(teacher @ teacher)
        self.rows = DataRows(problem, path_set.count, of_rows, strength, rotation)
        self._row_root = np.sqrt(self.rows.probability)
        self._normals = normals  # of the coordinates, one for every direction of the slopes
        learnt = np.array([self.rows.field, self.rows.labels])
        self._row_normals = NormalSupply(self.rows, of_rows, learnt)
        count, rows = path_set.count, self.rows.count
        self._room = room_of(problem)
        capacity = self._room.capacity
        self._weights = FoldedNoise(capacity, count, rows)
        self._slopes = FoldedNoise(capacity, rows, count)
        self._weight_table = np.zeros((capacity, capacity))  # <q_k, z_d>
        self._slope_table = np.zeros((capacity, capacity))  # <q_d, z_k>
        self._of_weights = Rows(capacity, 2 * RECENT)
        self._of_slopes = Rows(capacity, 2 * RECENT)
        self._learnt = int(teacher.any())
        if self._learnt:
            self._weights.add(teacher, self.rows.field)
        self._blind = amplifies(problem.dynamics)
        self._step = 0
        self.moment = 0.0
        self.traced, self._folded = False, False
        self.echoes: list[np.ndarray] = []
        self.row_echoes: list[np.ndarray] = []
        self._present: tuple[np.ndarray, np.ndarray] | None = None
        self.kept_fields: list[np.ndarray] = []
        self.kept_slopes: list[np.ndarray] = []

    def force(self, weights: np.ndarray) -> np.ndarray:
        """See `Residuals`."""
        self._fold()
        loading = self._loading(self._root * self._root_variance * weights)
        echo = self._echo(loading, self._weight_table, self._slopes.count)
        echo /= math.sqrt(self._ratio)
        field = loading @ self._weights.normals[: len(loading)]
        field += (echo @ self._slopes.functions[: len(echo)]) / self._row_root
        slope = self._slope(field, 0.0)
        self._present = field, slope
        self.moment = float(self.rows.probability @ slope**2)
        if not math.isfinite(self.moment):
            return np.full(len(weights), np.nan)
        of_slope = self._answer(field, slope)
        back = self._echo(of_slope, self._slope_table, self._weights.count)
        self._of_weights.add(loading, back)
        self._of_slopes.add(echo, of_slope)
        if self.traced and not self._folded:
            self.echoes.append(echo)
            self.row_echoes.append(back[self._learnt :])
        noise = of_slope @ self._slopes.normals[: len(of_slope)]
        answer = (back @ self._weights.functions[: len(back)]) / self._root
        self._step += 1
        return math.sqrt(self._ratio) * noise + self._ratio * answer

    @property
    def rank(self) -> int:
        """Directions in use, of both sides."""
        return self._weights.count + self._slopes.count

    def _echo(self, coefficients: np.ndarray, table: np.ndarray, count: int) -> np.ndarray:
        return np.asarray(coefficients @ table[: len(coefficients), :count])

    def _loading(self, row: np.ndarray) -> np.ndarray:
        """Coefficients of a row of weights, with the direction that it may add."""
        directions = self._weights
        loading, news = directions.known(row)
        if news is None:
            return loading
        before = directions.count
        normal = self._row_normals.one(directions.normals[:before])
        if self._blind:
            normal = self._slopes.unseen(normal, self._row_root)
        directions.add(news, normal)
        count = self._slopes.count
        self._weight_table[before, :count] = self._slopes.normals[:count] @ (
            self._root * directions.functions[before]
        )
        return np.append(loading, math.sqrt(news @ news))

    def _slope(self, field: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
        """dl/dh at labels with some noise on them, shape (rows,)."""
        value, slope, curvature = np.empty((3, len(field), 1))
        labels = self.rows.labels + noise
        loss = self._loss
        losses(loss.code, loss.parameter, field[:, None], labels, value, slope, curvature)
        return slope[:, 0]

    def _answer(self, field: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Coefficients of what a step sees of the slopes, with the directions that they add.

        That is their mean over batches and fresh noise, which has news like any row, and white
        noise about it, which is all news and independent of everything.
        """
        mean, square = self._moments(field, slope)
        directions = self._slopes
        loading, news = directions.known(self._row_root * mean)
        if news is not None:
            before = directions.count
            directions.add(news, self._normal())
            count = self._weights.count
            self._slope_table[before, :count] = self._weights.normals[:count] @ (
                self._row_root * directions.functions[before]
            )
            loading = np.append(loading, math.sqrt(news @ news))
        if not self._batches.noisy:
            return loading
        batches, probability = self._batches, self.rows.probability
        variance = probability @ (square + (batches.spread - 1.0) * mean**2) / batches.fraction
        white = self._row_root * (self._seen(field) - mean)
        for _ in range(2):
            known = directions.functions[: directions.count]
            white -= (known @ white) @ known
        directions.add(white, self._normal(), white=True)
        return np.append(loading, math.sqrt(max(float(variance), 0.0)))

    def _normal(self) -> np.ndarray:
        """The normal of a new direction of the slopes, blind where that matters."""
        normal = self._normals.one(self._slopes.normals[: self._slopes.count])
        return self._weights.unseen(normal, self._root) if self._blind else normal

    def _moments(self, field: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and mean square of a draw's slope over fresh noise on its label, (rows,) each."""
        if self._batches.noise_std == 0.0:
            return slope, slope**2
        nodes, shares = np.polynomial.hermite_e.hermegauss(_QUADRATURE)
        mean, square = np.zeros((2, len(field)))
        for node, share in zip(nodes, shares / shares.sum(), strict=True):
            drawn = self._slope(field, self._batches.noise_std * node)
            mean += share * drawn
            square += share * drawn**2
        return mean, square

    def _seen(self, field: np.ndarray) -> np.ndarray:
        """Slopes of a batch over its fraction, summed over the draws of each row."""
        batches, count = self._batches, self.rows.count
        key = (*self._batch_seed.spawn_key, self._step)
        generator = np.random.default_rng(
            np.random.SeedSequence(self._batch_seed.entropy, spawn_key=key)
        )
        if batches.spread == 1.0:
            size = generator.poisson(batches.fraction * count)
            draws = np.bincount(generator.integers(count, size=size), minlength=count)
        else:
            chosen = generator.permutation(count) < round(batches.fraction * count)
            draws = chosen.astype(np.int64)
        seen = np.zeros(count)
        for draw in range(int(draws.max(initial=0))):
            noise = batches.noise_std * generator.standard_normal(count)
            seen += np.where(draws > draw, self._slope(field, noise), 0.0)
        return seen / batches.fraction

    def _fold(self) -> None:
        """Make room where directions are full."""
        if self._weights.full:
            count = self._weights.count
            old, recent = count - self._room.newest, self._of_weights.rows[:, :count]
            change = self._weights.fold(old, recent, self._room.kept)
            self._weight_table = _fold_rows(change, self._weight_table)
            self._slope_table = fold_columns(change, self._slope_table)
            self._of_weights.change(change)
            self._row_normals.forget()
            self._folded = True
        if self._slopes.full:
            count = self._slopes.count
            old, recent = count - self._room.newest, self._of_slopes.rows[:, :count]
            change = self._slopes.fold(old, recent, self._room.kept)
            self._slope_table = _fold_rows(change, self._slope_table)
            self._weight_table = fold_columns(change, self._weight_table)
            self._of_slopes.change(change)
            self._normals.forget()
            self._folded = True

    def samples(self, problem: Problem) -> Samples:
        """See `Residuals`."""
        fields = np.array(self.kept_fields).T.copy()
        value, slope, curvature = np.empty((3, *fields.shape))
        loss = self._loss
        losses(loss.code, loss.parameter, fields, self.rows.labels, value, slope, curvature)
        return Samples(problem, fields, self.rows.labels, value, self.rows.probability)

    def keep(self) -> None:
        """See `Residuals`."""
        assert self._present is not None
        self.kept_fields.append(self._present[0])
        self.kept_slopes.append(self._present[1])

    @property
    def correlation(self) -> np.ndarray:
        """E[r r] of the kept rows of weights, shape (kept, kept)."""
        slopes = np.array(self.kept_slopes).T
        return np.asarray((self.rows.probability[:, None] * slopes).T @ slopes)

    def state(self) -> dict[str, Any]:
        """See `Residuals`."""
        return {
            "weights": self._weights.state(),
            "slopes": self._slopes.state(),
            "weight_table": self._weight_table.copy(),
            "slope_table": self._slope_table.copy(),
            "of_weights": self._of_weights.rows.copy(),
            "of_slopes": self._of_slopes.rows.copy(),
            "fields": np.array(self.kept_fields),
            "kept_slopes": np.array(self.kept_slopes),
            "normals": self._normals.state(),
            "row_normals": self._row_normals.state(),
            "step": self._step,
            "folded": int(self._folded),
            "echoes": {str(i): row for i, row in enumerate(self.echoes)},
            "row_echoes": {str(i): row for i, row in enumerate(self.row_echoes)},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Residuals`."""
        self._weights.restore(state["weights"])
        self._slopes.restore(state["slopes"])
        self._weight_table = np.array(state["weight_table"])
        self._slope_table = np.array(state["slope_table"])
        self._of_weights.rows = np.array(state["of_weights"])
        self._of_slopes.rows = np.array(state["of_slopes"])
        self.kept_fields = list(state["fields"])
        self.kept_slopes = list(state["kept_slopes"])
        self._normals.restore(state["normals"])
        self._row_normals.restore(state["row_normals"])
        self._step = int(state["step"])
        self._folded = bool(state["folded"])
        for name in ("echoes", "row_echoes"):  # both absent in older files
            rows = state.get(name, {})
            setattr(self, name, [np.array(rows[str(i)]) for i in range(len(rows))])


def _fold_rows(change: np.ndarray, table: np.ndarray) -> np.ndarray:
    return fold_columns(change, table.T).T.copy()
