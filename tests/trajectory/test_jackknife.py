"""Jackknife errors: exact for means, calibrated for omega, also with unequal blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dmft.trajectory import algebra
from dmft.trajectory.jackknife import jackknife
from dmft.trajectory.measures import Trajectory


def test_equal_blocks_of_a_sum_give_the_textbook_error():
    values = np.random.default_rng(0).standard_normal(12)
    error = jackknife(lambda stack: stack[..., 0, 0], values[:, None, None], np.ones(12))
    assert error == pytest.approx(values.std(ddof=1) * np.sqrt(12))


def test_one_block_has_no_error():
    assert jackknife(lambda stack: stack[..., 0, 0], np.ones((1, 1, 1)), np.ones(1)) is None


@pytest.mark.parametrize("sizes", [np.full(16, 250), np.arange(50, 530, 30)])
def test_calibrated_for_the_similarity_of_random_walks(sizes):
    """Over many walks, the deviation from the exact omega is of the size the jackknife says."""
    rng = np.random.default_rng(1)
    t = np.arange(1.0, 13)
    exact = np.mean(np.sqrt(np.minimum(t[:, None], t) / np.maximum(t[:, None], t)))
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    scores, errors = [], []
    for _ in range(120):
        walk = np.cumsum(rng.standard_normal((12, bounds[-1])), axis=0)
        blocks = np.array([
            algebra.from_vectors(walk[:, a:b]) for a, b in pairwise(bounds)
        ])  # fmt: skip
        omega, error = Trajectory(t, blocks, sizes, int(bounds[-1])).scalars[
            "mean_directional_similarity"
        ]
        scores.append(omega - exact)
        errors.append(error)
    ratio = np.sqrt(np.mean(np.square(errors))) / np.std(scores)
    assert abs(ratio - 1.0) < 4.0 * np.sqrt(0.5 / 120 + 0.5 / 16 / 120) + 0.05
    assert abs(np.mean(scores)) < 4.0 * np.std(scores) / np.sqrt(120) + 1e-3
