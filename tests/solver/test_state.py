"""Saved states that others have edited: refused, and the part is named."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import dmft
from dmft.errors import InputError
from dmft.solver.state import check_state

PROBLEM = dmft.Problem(noise_std=0.2)
SETTINGS = {"t_max": 1.0, "n_paths": 64, "replicates": 2, "rtol": 0.05, "threads": 1}


@pytest.fixture(scope="module")
def state():
    kept = {}
    dmft.solve(PROBLEM, keep=kept.update, keep_paths=False, **SETTINGS)
    return kept


def leaves(tree, path=()):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def edited(state, path, value):
    state = copy.deepcopy(state)
    tree = state
    for name in path[:-1]:
        tree = tree[name]
    tree[path[-1]] = value
    return state


def test_what_was_kept_passes(state):
    check_state(state)


@pytest.mark.parametrize("value", ["text", None, [1.0], np.full(2, np.nan)])
def test_no_part_may_be_anything(state, value):
    for path in leaves(state):
        texts = {("method",), ("plan", "reason")}
        if path == ("of",) or (path in texts and isinstance(value, str)):
            continue  # what a state is of is read before
        with pytest.raises(InputError) as refused:
            check_state(edited(state, path, value))
        assert "\n" not in str(refused.value), path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("marches/1/panels/0/step", 1e6),
        ("marches/2/panels/1/step", -1.0),
        ("marches/1/panels/0/diagonal", np.ones(3)),
        ("marches/0/control/last_error", -1.0),
        ("marches/0/control", {"step": 1.0}),
        ("replicates/count", 3),
        ("replicates/work", "none"),
        ("replicates/blocks/weights", np.ones((2, 2, 2))),
        ("replicates/paths/force", np.ones((2, 2))),
        ("replicates/sums/overlap", np.ones((2, 2))),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(state, path, value):
    """Also from Python, where a state of damaged numbers went on to others or to a traceback."""
    wrong = edited(state, tuple(path.split("/")), value)
    with pytest.raises(InputError, match="cannot resume"):
        dmft.solve(PROBLEM, resume=wrong, **{**SETTINGS, "t_max": 2.0})


def test_the_damaged_part_is_named(state):
    for path, named in (
        ("marches/1/panels/0/step", "'marches/1/panels/0' is damaged, 'step' is no length"),
        ("replicates/sums/overlap", "'sums/overlap' is damaged"),
    ):
        with pytest.raises(InputError, match=named):
            check_state(edited(state, tuple(path.split("/")), np.ones(2)))


def test_a_march_of_other_panels_than_the_plan_is_refused(state):
    fewer = edited(state, ("marches", "1", "panels", "7"), {})
    with pytest.raises(InputError, match="marches/1/panels"):
        check_state(fewer)
