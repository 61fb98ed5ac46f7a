"""What all schemes of steps share: which steps are stored, and where a divergence is reported."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.errors import NotConverged
from dmft.settings import SolverSettings
from dmft.solver.plan import Plan
from dmft.solver.stepping import DIVERGED, Diverged, StepPilot, plan_before, step_grid, stored_of


class Failing:
    """A march that diverges in the step after the last one allowed."""

    def __init__(self, allowed: int) -> None:
        self.count, self.work, self._allowed = 0, {}, allowed

    def step(self) -> None:
        if self.count == self._allowed:
            raise Diverged
        self.count += 1

    def saved(self):
        return {}


def pilot_of(allowed: int, steps: int) -> StepPilot:
    pilot = StepPilot(Failing(allowed), steps, "too large", lambda reached: np.eye(reached))
    list(pilot.panels())
    return pilot


def test_the_last_step_that_was_reached_is_stored():
    settings = SolverSettings(t_max=5000)
    whole = stored_of(settings, 5000)
    assert whole[0] == 0 and whole[-1] == 5000
    reached = int(whole[-2]) + 1  # which a whole run does not store
    stored = stored_of(settings, reached)
    np.testing.assert_array_equal(stored, [*whole[:-1], reached])
    grid = step_grid(stored)
    np.testing.assert_array_equal(grid.time, stored)
    np.testing.assert_array_equal(grid.panel, np.arange(-1, len(stored) - 1))


def test_a_pilot_says_in_which_step_it_diverged():
    plan = pilot_of(4, 10).plan()
    assert plan.end == 4.0 and "at step 5, too large" in plan.reason
    assert pilot_of(10, 10).plan().reason == ""
    with pytest.raises(NotConverged, match="in the first step: too large"):
        pilot_of(0, 10).plan()


def test_a_plan_ends_before_the_step_that_a_replicate_diverged_in():
    plan = Plan(np.arange(11.0), np.ones((10, 1), dtype=bool), np.eye(1), "")
    cut = plan_before(plan, 4, "too large")
    assert cut.end == 4.0 and cut.reason == "diverged at step 5: too large"
    with pytest.raises(NotConverged, match="in the first step"):
        plan_before(plan, 0, "too large")


def test_curves_end_where_the_residual_passes_what_is_allowed():
    problem = dmft.Problem(
        network={"kind": "linear"}, dynamics={"kind": "gradient-descent", "step_size": 1.5}
    )
    solution = dmft.solve(problem, t_max=60, n_paths=256, replicates=2)
    growth = solution.train_mse / solution.train_mse[0]
    assert solution.status == "not-converged" and growth[-1] <= DIVERGED == 1e4
    assert growth[-1] ** 2 / growth[-2] > DIVERGED  # grows by the same factor every step
    assert f"at step {int(solution.time[-1]) + 1}, " in solution.reason
