"""Solved problems that several tests look at, and the two ends of a comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dmft
from dmft.results.interpolation import curve_at, curve_error_at

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def mean_field() -> Callable[..., Pair]:
    """Value and standard error of a solution's curve at given times, both (time,)."""

    def read(solution: dmft.Solution, name: str, times: np.ndarray) -> Pair:
        value = curve_at(
            solution.time, solution.panel, getattr(solution, name), times, positive=True
        )
        return value, curve_error_at(solution.time, getattr(solution, f"{name}_stderr"), times)

    return read


@pytest.fixture(scope="session")
def infinite_dimension() -> Callable[..., dict[str, Pair]]:
    """Finite-d ensembles at d and 2d, their bias of order 1/d taken out.

    The extrapolation 2 f(2d) - f(d) leaves a bias of order 1/d^2 and propagates both errors.
    """

    def run(
        problem: dmft.Problem, times: np.ndarray, dimension: int, seeds: tuple[int, int]
    ) -> dict[str, Pair]:
        small, large = (
            dmft.simulate(problem, dimension=d, seeds=count, times=times, seed=d)
            for d, count in zip((dimension, 2 * dimension), seeds, strict=True)
        )
        curves = {}
        for name in ("train_mse", "excess_risk"):
            value = 2.0 * getattr(large, name) - getattr(small, name)
            error = np.hypot(
                2.0 * getattr(large, f"{name}_stderr"), getattr(small, f"{name}_stderr")
            )
            curves[name] = value[1:], error[1:]
        return curves

    return run


@pytest.fixture(scope="session")
def default_solution() -> dmft.Solution:
    """The default problem, to the end of the finite-d reference."""
    return dmft.solve(dmft.Problem(), t_max=24.0, n_paths=2048, replicates=6, seed=3)
