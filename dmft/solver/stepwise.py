"""The tangent-free march of one replicate in discrete dynamics, of any optimiser.

A coordinate knows its parameters and what its optimiser remembers; a step moves them by the force
that the data answer to the present weights (residuals.py). Memory and cost of a step do not grow
with the number of steps made, but for what is kept at the stored ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.population import Coordinates
from dmft.problem.schedules import step_factors
from dmft.solver.networks import (
    depth_of,
    initial_parameters,
    level_of,
    parameter_gradients,
    parameter_weights,
)
from dmft.solver.normal_supply import NormalSupply
from dmft.solver.optimisers import optimiser_of
from dmft.solver.path_residuals import PathResiduals
from dmft.solver.residuals import Batches, LinearResiduals, Residuals
from dmft.solver.rotations import OF_COORDINATES, OF_ROWS, rotation_of
from dmft.solver.sampling import PathSet
from dmft.solver.stepping import Diverged
from dmft.texts import words_of

_LARGEST_RISK = 1e100  # squares of kernels beyond it overflow
# Of heavy ball and Nesterov. A path of probability p adds directions of up to 1/sqrt(p) on itself,
# and the sampling error of their echoes drives it: with width 1.4 paths a thousand times less
# likely than others ran away, by overshoots that networks survive.
_WIDTH_OF_MOMENTUM = 1.2


def _width(dynamics: Any) -> float | None:
    """How wide the noise that tells paths apart is drawn, if not as usual."""
    if Batches.of(dynamics).noisy:
        return 1.0
    of_momentum = not dynamics.coordinatewise and dynamics.momentum > 0.0
    return _WIDTH_OF_MOMENTUM if of_momentum else None


class Stepwise:
    """State of one replicate after `count` steps.

    Attributes
    ----------
    count : steps made.
    parameters : of every path, see networks.py, shape (1 or 2, paths).
    residuals : the sample side. moment : E[r^2] after every step, shape (steps + 1,).
    kept_weights, kept_force : w, and the force on it, on the stored steps that were reached, shape
        (steps, paths); kept_parameters likewise, (steps, 1 or 2, paths).
    """

    def __init__(
        self,
        problem: Problem,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None,
        steps: int,
        stored: np.ndarray,
        largest: float,
    ) -> None:
        dynamics: Any = problem.dynamics
        width, of_rows = _width(dynamics), None
        if not problem.regression:
            rotation, of_rows = (rotation_of(rotation, side) for side in (OF_COORDINATES, OF_ROWS))
        self.path_set = PathSet(problem, count, seed, rotation, width, binned=True)
        coordinates = self.path_set.coordinates
        self.depth, self._level = depth_of(problem.network), level_of(problem.network)
        self._optimiser, slots = optimiser_of(dynamics)
        self._steps = dynamics.step_size * step_factors(dynamics.schedule, steps)
        self.parameters = initial_parameters(
            self.depth, self._level, coordinates.a0, coordinates.b0
        )
        self._memory = np.zeros((*self.parameters.shape, slots))
        self._root_variance = np.sqrt(coordinates.variance)
        self._stored = {int(node) for node in stored}
        self._largest = largest
        self.count = 0
        self.moment, self.risk = np.zeros((2, steps + 1))
        self.work = {"steps": 0.0, "direction_flops": 0.0}
        self._kept = np.empty((len(stored), 2 + len(self.parameters), count))
        self._reached = 0
        w = self._weights()
        learnt = [coordinates.teacher, self._root_variance, self._root_variance * w]
        for function in learnt:
            self.path_set.learn(function)
        normals = NormalSupply(self.path_set, seed, np.array(learnt))
        self.residuals: Residuals
        if problem.regression:
            self.residuals = LinearResiduals(problem, self.path_set, normals)
        else:
            self.residuals = PathResiduals(problem, self.path_set, normals, seed, of_rows)
        self._observe(w)

    def step(self) -> None:
        """One step of all paths, and the answer of the data to where it leads.

        Raises
        ------
        Diverged : the residuals of the new weights are beyond what is allowed.
        """
        self.work["steps"] += 1.0
        gradients, size = np.empty_like(self.parameters), self._steps[self.count]
        parameter_gradients(self.depth, self._level, self._force, self.parameters, gradients)
        for each in zip(self.parameters, gradients, self._memory, strict=True):
            self._optimiser.move(*each, self.count, size)
        self.count += 1
        try:
            self._observe(self._weights())
        except Diverged:
            self.count -= 1
            raise

    @property
    def coordinates(self) -> Coordinates:
        """Those of every path."""
        return self.path_set.coordinates

    @property
    def strata(self) -> list[slice]:
        """The paths of each stratum."""
        return self.path_set.strata

    @property
    def teacher(self) -> np.ndarray:
        """w* of every path."""
        return self.path_set.coordinates.teacher

    @property
    def probability(self) -> np.ndarray:
        """Weight of every path."""
        return self.path_set.probability

    @property
    def kept_weights(self) -> np.ndarray:
        return self._kept[: self._reached, 0]

    @property
    def kept_force(self) -> np.ndarray:
        return self._kept[: self._reached, 1]

    @property
    def kept_parameters(self) -> np.ndarray:
        return self._kept[: self._reached, 2:]

    def saved(self) -> dict[str, Any]:
        """Everything needed to continue, as a tree of arrays and numbers."""
        return {
            "count": self.count,
            "parameters": self.parameters.copy(),
            "memory": self._memory.copy(),
            "force": self._force.copy(),
            "curves": np.array([self.moment, self.risk]),
            "weights": self.kept_weights.copy(),
            "kept_parameters": self.kept_parameters.copy(),
            "kept_force": self.kept_force.copy(),
            "residuals": self.residuals.state(),
            "work": dict(self.work),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `saved`, of a march at its start.

        Raises
        ------
        InputError : a state of another version.
        """
        try:
            self.count = int(state["count"])
            rows = len(self.parameters)  # older states have an unused one on the linear network
            self.parameters = np.array(state["parameters"])[:rows]
            self._memory = np.array(state["memory"])[:rows]
            self._force = np.array(state["force"])
            self.moment, self.risk = np.array(state["curves"])
            self._reached = len(state["weights"])
            self.kept_weights[:] = state["weights"]
            self.kept_force[:] = state["kept_force"]
            self.kept_parameters[:] = np.array(state["kept_parameters"])[:, :rows]
            self.residuals.restore(state["residuals"])
            self.work = dict(state["work"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"given a march of another version: {words_of(error)}", "resume"
            ) from None

    def _weights(self) -> np.ndarray:
        w = np.empty(self.parameters.shape[1])
        parameter_weights(self.depth, self._level, self.parameters, w)
        return w

    def _observe(self, w: np.ndarray) -> None:
        # The slopes of some losses are bounded, whatever the weights do.
        with np.errstate(over="ignore", invalid="ignore"):
            risk = self.probability @ (self._root_variance * (w - self.teacher)) ** 2
        if not risk < _LARGEST_RISK:
            raise Diverged
        self._force = self._root_variance * self.residuals.force(w)
        moment = self.residuals.moment
        if not moment <= self._largest * (self.moment[0] if self.count else np.inf):
            raise Diverged
        self.moment[self.count], self.risk[self.count] = moment, risk
        self.work["direction_flops"] += 12.0 * len(w) * self.residuals.rank
        if self.count in self._stored:
            kept = self._kept[self._reached]
            kept[0], kept[1], kept[2:] = w, self._force, self.parameters
            self._reached += 1
            self.residuals.keep()
