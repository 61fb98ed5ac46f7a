"""Two algorithms that share nothing but the equations: panel march and global iteration."""

from typing import Any

import numpy as np
import pytest

import dmft
from dmft.solver.classical import classical_solve

STEPS, SEEDS = (0.1, 0.05), 8
TIMES = np.array([0.5, 1.0, 2.0])
SETTINGS: dict[str, dict[str, Any]] = {
    "depth 2": {},
    "depth 3 with weight decay": {
        "network": {"depth": 3, "init_scale": 0.7},
        "dynamics": {"weight_decay": 0.2},
    },
    "features, unbalanced start": {
        "sampling_ratio": 1.5,
        "features": {"kind": "discrete", "values": [0.5, 1.5]},
        "network": {"init_u": 0.6, "init_v": 0.2},
    },
}


def pushed(kernels, node):
    """Change of the weights at a node by a constant unit force from t = 0 on."""
    return kernels.response_weights[node].sum()


@pytest.mark.parametrize("name", SETTINGS)
def test_classical_algorithm(name, mean_field):
    problem = dmft.Problem(teacher={"kind": "rademacher"}, **SETTINGS[name])
    values = np.empty((2, SEEDS, 3, len(TIMES)))
    for i, step in enumerate(STEPS):
        for seed in range(SEEDS):
            solution = classical_solve(
                problem, t_max=TIMES[-1], step=step, n_paths=512, seed=10 * i + seed, tolerance=1e-3
            )
            assert solution.converged
            nodes = np.rint(TIMES / step).astype(int)
            values[i, seed, 0] = solution.train_mse[nodes]
            values[i, seed, 1] = solution.excess_risk[nodes]
            values[i, seed, 2] = [pushed(solution.kernels, node) for node in nodes]
    coarse, fine = values.mean(axis=1)
    variance = values.var(axis=1, ddof=1) / SEEDS
    classical, classical_error = 2.0 * fine - coarse, np.sqrt(4.0 * variance[1] + variance[0])
    # The extrapolation to step zero leaves a second-order rest, a fraction of what it took out.
    rest = 0.15 * np.abs(fine - coarse)

    march = dmft.solve(problem, t_max=TIMES[-1], n_paths=1024, replicates=4, seed=9)
    for row, curve in enumerate(("train_mse", "excess_risk")):
        ours, ours_error = mean_field(march, curve, TIMES)
        error = np.hypot(ours_error, classical_error[row])
        np.testing.assert_array_less(np.abs(ours - classical[row]), 4.5 * error + rest[row])
        assert np.median((error + rest[row]) / ours) < 0.1
    ours = pushed(march.kernels, -1)
    assert ours == pytest.approx(classical[2, -1], abs=4.5 * classical_error[2, -1] + rest[2, -1])
    assert classical_error[2, -1] + rest[2, -1] < 0.05 * abs(ours)
