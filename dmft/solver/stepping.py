"""What schemes of discrete dynamics share: every panel of a plan is one step, made explicitly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from dmft.errors import InputError, NotConverged
from dmft.problem.dynamics import step_count, stored_steps
from dmft.settings import SolverSettings
from dmft.solver.plan import Plan
from dmft.solver.scheme import Advance, Finished, Grid, PanelFailed, Tree

# Mean squared residual relative to its start at which the pilot calls a run diverged; replicates
# share its end and are given room.
DIVERGED, HOPELESS = 1e4, 1e12
VANISHED_RISK = 1e-8  # relative to the start: a smaller excess risk decides nothing


class Diverged(ArithmeticError):
    """The residuals have grown beyond what is allowed, or are no numbers."""


class StepMarch(Protocol):
    """A march of explicit steps."""

    @property
    def count(self) -> int:
        """Steps made."""
        ...

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        ...

    def step(self) -> None:
        """One step more.

        Raises
        ------
        Diverged : it leads beyond what is allowed; `count` stays.
        """
        ...

    def saved(self) -> Tree:
        """Its state; {} where that is large."""
        ...


def no_later_steps(settings: SolverSettings, plan: Plan) -> InputError:
    """What a finished solve answers that is to go on: it keeps no state."""
    return InputError(
        f"given {settings.t_max:g}, the state ends at {plan.end:g} and steps cannot be continued: "
        "solve again",
        "solver.t_max",
    )


class StepPilot:
    """The pilot under way: it finds how far the steps go and the rotation of the noise."""

    def __init__(
        self,
        march: StepMarch,
        steps: int,
        limit: str,
        rotation: Callable[[int], np.ndarray],
    ) -> None:
        """limit : words on what is too large. rotation : of the noise, from so many steps."""
        self._march = march
        self._steps = steps
        self._limit = limit
        self._rotation = rotation

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """Make the steps, up to divergence."""
        while self._march.count < self._steps:
            try:
                self._march.step()
            except Diverged:
                return
            yield Advance(float(self._march.count), panels=self._march.count)

    def saved(self) -> Tree:
        """Its state, where that is small."""
        return self._march.saved()

    def plan(self, early: str = "") -> Plan:
        """One panel per step that was reached."""
        reached, reason = self._march.count, ""
        if reached == 0:
            raise NotConverged(f"diverged in the first step: {self._limit}")
        if reached < self._steps:
            reason = early or (
                f"diverged: the mean squared residual passed {DIVERGED:g} times its start, or the "
                f"weights all bounds, at step {reached + 1}, {self._limit}"
            )
        edges, directions = np.arange(reached + 1.0), np.ones((reached, 1), dtype=bool)
        return Plan(edges, directions, self._rotation(reached), reason)


class StepReplicate:
    """A replicate under way."""

    def __init__(self, march: StepMarch, steps: int, finish: Callable[[], Finished]) -> None:
        """finish : what the march leaves behind."""
        self._march = march
        self._steps = steps
        self.finish = finish

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """Make the steps that are left."""
        for done in range(self._march.count, self._steps):
            try:
                self._march.step()
            except Diverged:
                raise PanelFailed(done) from None
            yield Advance(float(done + 1), panels=done + 1)

    def saved(self) -> Tree:
        """Its state, where that is small."""
        return self._march.saved()


def too_large(dynamics: Any) -> str:
    """Words on a step that diverges."""
    return f"step_size {dynamics.step_size:g} is above what is stable"


def stored_of(settings: SolverSettings, steps: int) -> np.ndarray:
    """Stored steps of the whole run that were reached, and the last."""
    wanted = np.array(stored_steps(step_count(settings.t_max)))
    wanted = np.union1d(wanted, np.array(settings.times or (), dtype=wanted.dtype))
    return np.union1d(wanted[wanted <= steps], [steps])


def step_grid(stored: np.ndarray) -> Grid:
    """The nodes of the stored steps."""
    return Grid(stored.astype(float), np.arange(len(stored)) - 1, np.ones(len(stored)))


def blamed(plan: Plan, limit: str, n_paths: int) -> str:
    """Words on why a replicate of `n_paths` diverges: `limit` only where the pilot did, too."""
    if limit in plan.reason:
        return limit
    return (
        f"one of several marches runs away, a few of its n_paths = {n_paths} decide; take more, or "
        "a smaller step_size"
    )


def plan_before(plan: Plan, step: int, why: str) -> Plan:
    """The plan up to a step that diverged, and why.

    Raises
    ------
    NotConverged : it was the first.
    """
    if step == 0:
        raise NotConverged(f"diverged in the first step: {why}")
    return plan.cut(step, f"diverged at step {step + 1}: {why}")
