"""Schedules against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.problem.schedules import (
    Constant,
    Cosine,
    Exponential,
    LinearDecay,
    Piecewise,
    step_factors,
)


def test_factors():
    np.testing.assert_array_equal(step_factors(Constant(), 3), [1, 1, 1])
    np.testing.assert_allclose(
        step_factors(Constant(warmup_steps=4), 6), [0.25, 0.5, 0.75, 1, 1, 1]
    )
    cosine = step_factors(Cosine(total_steps=10, final_fraction=0.2), 14)
    np.testing.assert_allclose(cosine[[0, 5, 10, 13]], [1.0, 0.6, 0.2, 0.2])
    linear = step_factors(LinearDecay(total_steps=10, warmup_steps=2, final_fraction=0.5), 12)
    np.testing.assert_allclose(linear[[0, 1, 2, 6, 10, 11]], [0.5, 1.0, 1.0, 0.75, 0.5, 0.5])
    np.testing.assert_allclose(step_factors(Exponential(factor=0.5), 3), [1.0, 0.5, 0.25])
    steps = step_factors(Piecewise(steps=(2, 4), factors=(0.1, 0.01)), 6)
    np.testing.assert_allclose(steps, [1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    "given, message",
    [
        ({"kind": "cosine"}, "total_steps: required"),
        ({"kind": "cosine", "total_steps": 5, "warmup_steps": 5}, "must be less than total_steps"),
        ({"kind": "piecewise", "steps": [4, 2], "factors": [1.0, 1.0]}, "must increase"),
        ({"kind": "piecewise", "steps": [4], "factors": [1.0, 1.0]}, "must be as many"),
        ({"kind": "exponential", "factor": 1.5}, "at most 1"),
        ({"kind": "stair"}, "allowed:"),
    ],
)
def test_refused(given, message):
    with pytest.raises(dmft.InputError, match=message):
        dmft.Problem(dynamics={"kind": "sgd", "schedule": given})
