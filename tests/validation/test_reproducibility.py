"""The same seed gives the same arrays: any number of threads, stopped anywhere and resumed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

import dmft
from dmft.store import load_checkpoint, save_checkpoint

PROBLEM = dmft.Problem()
OPTIONS: dict[str, Any] = {"t_max": 0.5, "n_paths": 128, "replicates": 2, "seed": 6, "threads": 1}
SIGNS: dict[str, Any] = {"loss": "logistic", "labels": "sign"}
# Both sides sampled: a flow, and steps whose batches and normals have random numbers of their own.
SAMPLED = {
    "flow": (dmft.Problem(**SIGNS), {**OPTIONS, "t_max": 1.5}),
    "steps": (
        dmft.Problem(**SIGNS, dynamics={"kind": "sgd", "step_size": 0.2, "batch_fraction": 0.5}),
        {**OPTIONS, "t_max": 12},
    ),
    "steps of Adam": (
        dmft.Problem(loss="huber", labels="outliers", dynamics="adam"),
        {**OPTIONS, "t_max": 9},
    ),
}


def arrays(solution):
    """Every number of a solution by name."""

    def walk(prefix, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{prefix}/{key}", inner)
        elif isinstance(value, np.ndarray | float | int | str | type(None)):
            yield prefix, value

    return dict(walk("", asdict(solution)))


def assert_identical(first, second):
    ours, theirs = arrays(first), arrays(second)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    for name, value in ours.items():
        assert np.array_equal(value, theirs[name]), name


@pytest.fixture(scope="module")
def uninterrupted():
    """The result and the states at all panels, with the replicate each was taken in."""
    states: list[Any] = []
    solution = dmft.solve(PROBLEM, **OPTIONS, checkpoint=states.append, checkpoint_seconds=0.0)
    return solution, states


def where(state):
    """Finished replicates, or -1 for the pilot."""
    return state["replicates"]["count"] if "plan" in state else -1


def test_same_seed_again(uninterrupted):
    assert_identical(uninterrupted[0], dmft.solve(PROBLEM, **OPTIONS))


def test_other_seed_differs(uninterrupted):
    other = dmft.solve(PROBLEM, **{**OPTIONS, "seed": 7})
    assert not np.array_equal(other.replicate_excess_risk, uninterrupted[0].replicate_excess_risk)


def test_threads():
    options = {**OPTIONS, "n_paths": 1300, "t_max": 1.0}
    one, two, three = (dmft.solve(PROBLEM, **{**options, "threads": n}) for n in (1, 2, 3))
    assert_identical(one, two)
    assert_identical(one, three)


@pytest.mark.parametrize("stage", [-1, 0, 1], ids=["pilot", "first", "second"])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_resume_from_any_panel(uninterrupted, stage, place):
    solution, states = uninterrupted
    there = [state for state in states if where(state) == stage]
    assert len(there) >= 3
    state = there[round(place * (len(there) - 1))]
    assert_identical(solution, dmft.solve(PROBLEM, **OPTIONS, resume=state))


def test_state_survives_a_file(uninterrupted, tmp_path):
    solution, states = uninterrupted
    for number in (2, len(states) - 2):
        path = tmp_path / f"{number}.h5"
        save_checkpoint(path, dmft.config.Config(problem=PROBLEM), states[number])
        state = load_checkpoint(path)[1]
        assert_identical(solution, dmft.solve(PROBLEM, **OPTIONS, resume=state))


def test_stopped_again_and_again(uninterrupted):
    """Every attempt gets four panels further, through pilot and replicates."""
    solution, states = uninterrupted
    saved: list[Any] = [None]
    result = None
    for attempt in range(len(states)):
        polls = iter([False] * 3 + [True] * 10_000)
        try:
            result = dmft.solve(
                PROBLEM,
                **OPTIONS,
                resume=saved[-1],
                checkpoint=saved.append,
                checkpoint_seconds=1e9,
                stop=lambda polls=polls: next(polls),
            )
            break
        except dmft.Interrupted:
            assert len(saved) == attempt + 2
    assert result is not None
    assert len(saved) > len(states) / 4 - 1
    assert_identical(solution, result)


def test_growing_replicates_resume():
    """The number of replicates is open with a target error; a resumed solve decides alike."""
    options = {**OPTIONS, "target_error": 0.004, "max_replicates": 5}
    states: list[Any] = []
    solution = dmft.solve(PROBLEM, **options, checkpoint=states.append, checkpoint_seconds=0.0)
    assert len(solution.replicate_train_mse) > 2
    assert_identical(solution, dmft.solve(PROBLEM, **options, resume=states[-3]))


@pytest.fixture(scope="module", params=SAMPLED)
def sampled(request):
    """Problem, options, result and the states at all panels or steps."""
    problem, options = SAMPLED[request.param]
    states: list[Any] = []
    solution = dmft.solve(problem, **options, checkpoint=states.append, checkpoint_seconds=0.0)
    return problem, options, solution, states


def test_threads_with_rows(sampled):
    problem, options, _, _ = sampled
    more = {**options, "n_paths": 1300}
    one, three = (dmft.solve(problem, **{**more, "threads": n}) for n in (1, 3))
    assert_identical(one, three)


@pytest.mark.parametrize("stage", [-1, 0, 1], ids=["pilot", "first", "second"])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_resume_from_any_panel_with_rows(sampled, stage, place, tmp_path):
    """From memory, and through a file."""
    problem, options, solution, states = sampled
    there = [state for state in states if where(state) == stage]
    assert len(there) >= 3
    state = there[round(place * (len(there) - 1))]
    if place == 0.5:
        path = tmp_path / "state.h5"
        save_checkpoint(path, dmft.config.Config(problem=problem), state)
        state = load_checkpoint(path)[1]
    assert_identical(solution, dmft.solve(problem, **options, resume=state))
