"""Nothing moves by a bit while the code is rearranged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dmft
from tests.golden.cases import (
    CHECKPOINT,
    DIGEST,
    GOLDEN,
    PREDICTIONS,
    SIMULATIONS,
    SOLVES,
    machine,
    of_prediction,
    of_simulation,
    of_solution,
)

# Elsewhere sums differ in the last digit, and a march amplifies that: tangents in single precision
# are rounded to 6e-8, sweeps end at a tolerance, directions of the noise count above a threshold.
# Measured by moving noise_std by 1e-15: 5e-10 in the worst flow (depth 3 with decay), 1e-13 in
# steps but for the case where a direction comes or goes: 5e-4 in its kernels. With NumPy 1.26 and
# Numba 0.59 responses of flows moved by 4e-8 of the largest: one rounding of a tangent.
FLOW, STEPS, SIMULATED, THEORY = 6e-8, 1e-11, 1e-9, 1e-9
AT_A_THRESHOLD = {"sgd-independent": 5e-3}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


def compare(golden: dict[str, np.ndarray], name: str, found: dict[str, Any], rtol: float) -> None:
    here = str(golden["machine"]) == machine()
    expected = {
        key.removeprefix(f"{name}/"): values
        for key, values in golden.items()
        if key.startswith(f"{name}/")
    }
    assert set(found) == set(expected)
    for key, values in expected.items():
        if here:
            np.testing.assert_array_equal(found[key], values, err_msg=f"{name}: {key}")
        elif key not in (DIGEST, "work"):
            scale = np.max(np.abs(values), initial=1e-300)
            np.testing.assert_allclose(
                found[key], values, rtol=rtol, atol=rtol * scale, err_msg=f"{name}: {key}"
            )


@pytest.mark.parametrize("name", SOLVES)
def test_solves(golden, name):
    problem, settings = SOLVES[name]
    problem = dmft.Problem(**problem)
    found = of_solution(dmft.solve(problem, **settings))
    usual = STEPS if problem.dynamics.discrete else FLOW
    compare(golden, name, found, AT_A_THRESHOLD.get(name, usual))


def test_threads_change_nothing(golden):
    for key in ("excess_risk", "kernels.overlap", DIGEST):
        one, two = (golden[f"flow-{threads}/{key}"] for threads in ("one-thread", "two-threads"))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SIMULATIONS)
def test_simulations(golden, name):
    problem, settings = SIMULATIONS[name]
    found = of_simulation(dmft.simulate(dmft.Problem(**problem), **settings))
    compare(golden, name, found, SIMULATED)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions(golden, name):
    found = of_prediction(dmft.theory.predict(dmft.Problem(**PREDICTIONS[name])))
    compare(golden, name, found, THEORY)


def test_an_old_checkpoint_is_resumed(golden, tmp_path):
    from dmft.store import load_checkpoint

    config, state = load_checkpoint(CHECKPOINT)
    assert "march" in state and state["replicates"]["count"] == 1
    solution = dmft.solve(config.problem, **config.solver.model_dump(), resume=state)
    path = tmp_path / "resumed.h5"
    dmft.save(path, solution)  # which refuses what is no number
    curves = dmft.load(path).curves
    assert "train_mse" in curves and np.isfinite(curves["train_mse"].stderr).all()
    assert all(curve.runs is None or len(curve.runs) == 2 for curve in curves.values())
    compare(golden, "resumed", of_solution(solution), FLOW)
