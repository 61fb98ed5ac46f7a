"""What a march over panels leaves behind: curves, kernels and a few paths."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.population import Coordinates
from dmft.results.observables import Weights
from dmft.results.solution import SamplePaths
from dmft.solver.march import March
from dmft.solver.panel_time import panel_time
from dmft.solver.plan import Plan
from dmft.solver.scheme import Finished, Grid

_SHOWN_PATHS = 16
_IN_CACHE = 128  # paths whose numbers on all nodes stay there


def panel_grid(plan: Plan, *, logarithmic: bool = False) -> Grid:
    """The nodes of the panels of a plan; logarithmic : see panel_time.py."""
    time, panel, weight = [np.zeros(1)], [np.full(1, -1)], [np.zeros(1)]
    for index, (start, end) in enumerate(zip(plan.edges[:-1], plan.edges[1:], strict=True)):
        # A unit force is a unit force also where the accumulated one is weighted.
        nodes = panel_time(start, end - start, growth=0.0, logarithmic=logarithmic)
        time.append(start + nodes.elapsed)
        panel.append(np.full(STAGES, index))
        weight.append(nodes.integration[-1])
    return Grid(np.concatenate(time), np.concatenate(panel), np.concatenate(weight))


def finished(problem: Problem, march: March) -> Finished:
    """What a march over panels leaves behind."""
    charges = None
    if problem.network.code == DEPTH_TWO:
        coordinates = march.coordinates
        charges = (2.0 * coordinates.a0 * coordinates.b0)[:, None] * march.charge_decay()
    weights, probability = march.all_weights(), march.probability
    return Finished(
        weights_of(problem, march, weights, charges),
        curves_of_squared_loss(march.train_mse, march.risk),
        _kernels(march, weights),
        None if charges is None else factor_overlap(probability, weights, charges),
        sample_paths(march, weights, march.all_forces()),
    )


def weights_of(
    problem: Problem, march: Paths, values: np.ndarray, charges: np.ndarray | None
) -> Weights:
    """The weights of a march's paths, (paths, nodes), as the table of observables wants them."""
    variance = march.coordinates.variance
    return Weights(problem, values, march.teacher, variance, march.probability, charges)


def curves_of_squared_loss(train_mse: np.ndarray, risk: np.ndarray) -> dict[str, np.ndarray]:
    """What a march knows without the table: the residual of a sample needs no paths."""
    return {"train_mse": train_mse, "excess_risk": risk, "train_loss": 0.5 * train_mse}


def _kernels(march: March, weights: np.ndarray) -> dict[str, np.ndarray]:
    size = len(march.times)
    response = np.zeros((size, size))
    response[1:, 1:] = march.response
    error = march.all_errors()
    return {
        "correlation_error": (march.probability[:, None] * error).T @ error,
        "correlation_residual": march.residual_factor @ march.residual_factor.T,
        "response_weights": response,
        "response_residual": np.linalg.inv(np.eye(size) - response),
        "overlap": (march.probability[:, None] * weights).T @ weights,
    }


def factor_overlap(probability: np.ndarray, weights: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """E[u(t) u(s) + v(t) v(s)] = E[sqrt(|C(t) C(s)|) cosh(z(t) + z(s))], z = asinh(2 w/|C|) / 2.

    C = u^2 - v^2 = 2ab is the charge of a path, (paths, nodes). With e^(+-z) at hand the average
    is two matrix products. A charge of zero (u = +-v) is its limit.
    """
    up, down = np.empty_like(weights), np.empty_like(weights)
    for start in range(0, len(weights), _IN_CACHE):
        part = slice(start, start + _IN_CACHE)
        charge = np.maximum(np.abs(charges[part]), 1e-200)
        z = 0.5 * np.arcsinh(2.0 * weights[part] / charge)
        root = np.sqrt(0.5 * probability[part, None] * charge)
        up[part], down[part] = root * np.exp(z), root * np.exp(-z)
    return up.T @ up + down.T @ down


class Paths(Protocol):
    """What `sample_paths` asks of a march."""

    @property
    def coordinates(self) -> Coordinates: ...

    @property
    def strata(self) -> list[slice]: ...

    @property
    def teacher(self) -> np.ndarray: ...

    @property
    def probability(self) -> np.ndarray: ...


def sample_paths(march: Paths, weights: np.ndarray, force: np.ndarray) -> SamplePaths:
    """A few paths of every stratum, spread over its teacher values."""
    strata = march.strata
    each = max(1, _SHOWN_PATHS // len(strata))
    chosen = []
    for stratum in strata:
        order = np.argsort(march.teacher[stratum], kind="stable") + stratum.start
        spread = np.linspace(0, len(order) - 1, min(each, len(order)) + 2)[1:-1]
        chosen.append(order[spread.astype(int)])
    index = np.concatenate(chosen)
    return SamplePaths(march.teacher[index], march.probability[index], weights[index], force[index])
