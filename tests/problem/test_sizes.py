"""Numbers so large that their products overflow."""

from __future__ import annotations

import warnings

import pytest

import dmft
import dmft.theory


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network.init_scale": 1e200}, "problem.network"),
        ({"network.depth": 4, "network.init_scale": 1e20}, "problem.network"),
        ({"noise_std": 1e200}, "problem.noise_std"),
        ({"teacher": {"kind": "gaussian", "std": 1e200}}, "problem.teacher"),
    ],
)
def test_numbers_whose_products_overflow_are_refused_by_all(changes, named):
    problem = dmft.Problem().replace(**changes)
    small = {"n_paths": 64, "replicates": 1, "t_max": 1.0, "rtol": 0.1}
    for door in (
        lambda: dmft.solve(problem, **small),
        lambda: dmft.simulate(problem, dimension=20, seeds=1),
        *((lambda: dmft.theory.predict(problem),) if named != "problem.network" else ()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(dmft.errors.InputError, match=named):
                door()
