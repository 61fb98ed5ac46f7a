"""Results with made-up numbers, for tests that only pass them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from dmft.problem import Problem
from dmft.results.curves import Curve
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.settings import SimulationSettings, SolverSettings


def _curves(
    rng: np.random.Generator, runs: int, points: int, names: tuple[str, ...]
) -> dict[str, Curve]:
    return {
        name: Curve(
            rng.random(points), rng.random(points) if runs > 1 else None, rng.random((runs, points))
        )
        for name in names
    }


def _with(kind, given, changes):
    """A result with some fields or curves changed; curves by name, `None` takes one out."""
    own = {name for name in changes if name in kind.__dataclass_fields__}
    result = kind(**{**given, **{name: changes[name] for name in own}})
    curves = dict(result.curves)
    for name, values in changes.items():
        if name in own:
            continue
        base = name.removeprefix(kind.runs_prefix).removesuffix("_stderr")
        part = "runs" if name.startswith(kind.runs_prefix) else "stderr"
        part = "mean" if name == base else part
        if part == "mean" and values is None:
            curves.pop(base, None)
        elif base in curves:
            curves[base] = replace(curves[base], **{part: values})
        elif part == "mean":
            curves[base] = Curve(values)
    return replace(result, curves=curves)


@pytest.fixture(scope="session")
def change():
    """Change curves and fields of a result, as `make_solution` does."""
    return lambda result, **changes: _with(
        type(result), {own.name: getattr(result, own.name) for own in fields(result)}, changes
    )


@pytest.fixture(scope="session")
def make_solution() -> Callable[..., Solution]:
    def make(nodes: int = 12, replicates: int = 3, **changes: object) -> Solution:
        rng = np.random.default_rng(7)
        square = (nodes, nodes)
        fields = {
            "problem": Problem(),
            "settings": SolverSettings(replicates=replicates),
            "time": np.concatenate([[0.0], np.geomspace(0.1, 100.0, nodes - 1)]),
            "panel": np.arange(nodes) // 3 - 1,
            "curves": _curves(rng, replicates, nodes, ("train_mse", "excess_risk", "mean_charge")),
            "kernels": Kernels(*rng.random((5, *square)), rng.random(nodes)),
            "paths": SamplePaths(*rng.random((2, 4)), *rng.random((2, 4, nodes))),
            "work": {"panels": 4, "sweeps": 17, "flops": 1.5e9},
        }
        return _with(Solution, fields, changes)

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
            "curves": _curves(rng, seeds, points, ("train_mse", "excess_risk")),
            "seed": np.arange(seeds),
            "kernels": Kernels(
                *rng.random((3, *square)),
                correlation_error_stderr=rng.random(square) if several else None,
                correlation_residual_stderr=rng.random(square) if several else None,
                overlap_stderr=rng.random(square) if several else None,
            ),
        }
        return _with(Simulation, fields, changes)

    return make
