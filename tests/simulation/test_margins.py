"""Diagonal networks at matched tiny losses against the largest margins of their own data."""

import numpy as np
import pytest
from scipy.optimize import linprog, nnls

from dmft.problem import Problem
from dmft.simulation.coordinates import start_of
from dmft.simulation.flow import integrate
from tests.helpers import data_set

SPARSE = {"kind": "bernoulli-gauss", "density": 0.2}


def reached(problem, dimension, seed, norm, loss=1e-8):
    """-dlog(loss)/d|w| over the last decade of time before a loss, over the largest margin; and
    the l1 margin of the direction of largest l2 margin over the largest l1 margin."""
    data = data_set(problem, dimension, seed)
    rows, drawn = data.labels[:, None] * data.features, data.coordinates
    start = start_of(problem.network, 0.0, drawn.a0, drawn.b0)
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e12, 61)])
    weights = integrate(
        data.features, data.labels, start, times,
        teacher=drawn.teacher, variance=drawn.variance, rtol=1e-3, loss=problem.loss,
    ).weights  # fmt: skip
    losses = np.log(np.mean(np.logaddexp(0.0, -weights @ rows.T), axis=1))
    last = int(np.argmax(losses < np.log(loss)))
    sizes = [np.mean(np.abs(w)) if norm == "l1" else np.mean(w**2) ** 0.5 for w in weights]
    growth = (losses[last - 4] - losses[last]) / (sizes[last] - sizes[last - 4])

    program = linprog(
        np.ones(2 * dimension), A_ub=np.hstack([-rows, rows]), b_ub=-np.ones(len(rows))
    )
    # The largest l2 margin by least distance programming (Lawson and Hanson 1974).
    matrix = np.vstack([rows.T, np.ones(len(rows))])
    target = np.append(np.zeros(dimension), 1.0)
    residual = matrix @ nnls(matrix, target)[0] - target
    even = -residual[:-1] / residual[-1]
    largest = {"l1": dimension / program.fun, "l2": np.mean(even**2) ** -0.5}
    return growth / largest[norm], program.fun / np.abs(even).sum()


def sample(ratio, teacher, start, norm, dimension=150, seeds=4):
    """Means of both over seeds, with the standard error of the first."""
    problem = Problem(
        sampling_ratio=ratio, noise_std=0.0, teacher=teacher, network={"init_scale": start},
        loss="logistic", labels="sign",
    )  # fmt: skip
    found = np.array([reached(problem, dimension, seed, norm) for seed in range(seeds)])
    return *found.mean(axis=0), found[:, 0].std(ddof=1) / seeds**0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "teacher"),
    [(1.5, SPARSE), (5.0, {"kind": "rademacher"}), (10.0, {"kind": "gaussian"})],
)
def test_large_starts_have_the_largest_l2_margin(ratio, teacher):
    growth, _, error = sample(ratio, teacher, 100.0, "l2", seeds=2)
    assert abs(growth - 1.0) < 0.01 + 2.0 * error < 0.015


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "teacher"), [(5.0, {"kind": "rademacher"}), (10.0, {"kind": "gaussian"})]
)
def test_small_starts_have_the_largest_l1_margin_of_dense_teachers(ratio, teacher):
    """Where rows are many the direction of the largest l2 margin has it as well."""
    growth, even, error = sample(ratio, teacher, 1e-3, "l1")
    assert abs(growth - 1.0) < 0.01 and error < 0.006
    assert even > 0.985


@pytest.mark.slow
def test_small_starts_are_short_of_the_largest_l1_margin_of_sparse_teachers():
    """By ten to twenty percent at loss 1e-8, as the direction of the largest l2 margin is."""
    growth, even, error = sample(1.5, SPARSE, 1e-3, "l1")
    assert 0.8 < growth < 0.92 and error < 0.03
    assert even < 0.9
