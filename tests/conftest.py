"""Results with made-up numbers, for tests that only pass them on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dmft.problem import Problem
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.settings import SimulationSettings, SolverSettings


@pytest.fixture(scope="session")
def make_solution() -> Callable[..., Solution]:
    def make(nodes: int = 12, replicates: int = 3, **changes: object) -> Solution:
        rng = np.random.default_rng(7)
        square = (nodes, nodes)
        several = replicates > 1
        fields = {
            "problem": Problem(),
            "settings": SolverSettings(replicates=replicates),
            "time": np.concatenate([[0.0], np.geomspace(0.1, 100.0, nodes - 1)]),
            "panel": np.arange(nodes) // 3 - 1,
            "train_mse": rng.random(nodes),
            "excess_risk": rng.random(nodes),
            "train_mse_stderr": rng.random(nodes) if several else None,
            "excess_risk_stderr": rng.random(nodes) if several else None,
            "mean_charge": rng.random(nodes),
            "mean_charge_stderr": rng.random(nodes) if several else None,
            "kernels": Kernels(*rng.random((5, *square)), rng.random(nodes)),
            "replicate_train_mse": rng.random((replicates, nodes)),
            "replicate_excess_risk": rng.random((replicates, nodes)),
            "paths": SamplePaths(*rng.random((2, 4)), *rng.random((2, 4, nodes))),
            "work": {"panels": 4, "sweeps": 17, "flops": 1.5e9},
        }
        return Solution(**{**fields, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def make_simulation() -> Callable[..., Simulation]:
    def make(points: int = 9, seeds: int = 3, **changes: object) -> Simulation:
        rng = np.random.default_rng(8)
        square = (points, points)
        several = seeds > 1
        fields = {
            "problem": Problem(),
            "settings": SimulationSettings(dimension=50, seeds=seeds),
            "time": np.concatenate([[0.0], np.geomspace(0.1, 100.0, points - 1)]),
            "train_mse": rng.random(points),
            "excess_risk": rng.random(points),
            "train_mse_stderr": rng.random(points) if several else None,
            "excess_risk_stderr": rng.random(points) if several else None,
            "seed": np.arange(seeds),
            "seed_train_mse": rng.random((seeds, points)),
            "seed_excess_risk": rng.random((seeds, points)),
            "correlation_error": rng.random(square),
            "correlation_residual": rng.random(square),
            "overlap": rng.random(square),
            "correlation_error_stderr": rng.random(square) if several else None,
            "correlation_residual_stderr": rng.random(square) if several else None,
            "overlap_stderr": rng.random(square) if several else None,
        }
        return Simulation(**{**fields, **changes})  # type: ignore[arg-type]

    return make
