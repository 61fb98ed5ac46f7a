"""The entry to the solver: a pilot, then independent replicates, then a Solution."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from dmft.errors import InputError, Interrupted, NotConverged
from dmft.numerics.collocation import STAGES
from dmft.numerics.workers import thread_pool
from dmft.problem import Problem
from dmft.problem.dynamics import GradientFlow, StochasticGradientFlow
from dmft.problem.networks import LINEAR
from dmft.problem.problem import require_plain_steps, require_squared
from dmft.progress import Progress, shown
from dmft.results.solution import Solution
from dmft.settings import SolverSettings
from dmft.solver.march import Attempt, March
from dmft.solver.pilot import PILOT_PATHS, Plan, StepControl, adaptive_panels, make_plan
from dmft.solver.progress import FLOW_COSTS, Costs, WorkMeter
from dmft.solver.replicates import Finished, Grid, Replicates, finished, panel_grid
from dmft.solver.sampling import Sample
from dmft.solver.state import PanelRows

_SWEEP_TOLERANCE = 0.1  # of rtol: to which the sweeps of a panel settle and noise directions count
_FIRST_CAPACITY = 32  # panels the pilot's storage starts with
_MOST_SPLITS = 8  # panels of the plan that may be cut in two when a replicate needs it
_MEMORY_SHARE = 0.8

State = dict[str, Any]
Saved = Mapping[str, Any]


def solve(
    problem: Problem,
    *,
    t_max: float = 100.0,
    n_paths: int = 4096,
    replicates: int = 4,
    rtol: float = 1e-3,
    seed: int = 0,
    target_error: float | None = None,
    max_replicates: int = 64,
    threads: int | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    checkpoint: Callable[[State], None] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: Saved | None = None,
    stop: Callable[[], bool] | None = None,
) -> Solution:
    """Solve the dynamical mean-field equations of a problem.

    The equations of docs/method.md are marched in time on adaptive Radau panels; a pilot chooses
    the panels, `replicates` independent samples of the effective process give means and standard
    errors. Gradient descent and SGD are marched step by step (docs/finite-steps.md). The same seed
    gives the same arrays whatever the number of threads.

    Parameters
    ----------
    problem : what to solve.
    t_max : final time, in units of the flow of 1/2 |Xw - y|^2; in discrete dynamics the number of
        steps.
    n_paths : paths of the effective process in each replicate; the sampling error falls like a
        power of it, measured to be 1.2 on the default problem up to 8192 paths.
    replicates : independent replicates, at least 2 for error bars.
    rtol : relative error allowed to the time discretisation of the weights, hence of excess_risk.
        A train_mse that vanishes exponentially keeps fewer digits. Unused in discrete dynamics.
    seed : every random number derives from it.
    target_error : if given, replicates are added until the relative standard error of excess_risk
        is below it at all times, at most `max_replicates`.
    threads : worker threads; all processors by default.
    progress : called with a `dmft.progress.Progress` after each panel; True shows a bar.
    checkpoint : called with the state of the solve about every `checkpoint_seconds` and before
        an interruption; the state is a tree of arrays, numbers and text.
    resume : such a state; the solve continues to the identical result.
    stop : polled after each panel; when it returns True the solve raises Interrupted.

    Returns
    -------
    Solution, with status "not-converged" and a reason if the accuracy or t_max was not reached.

    Raises
    ------
    InputError : a setting outside its range, or more memory needed than there is.
    Interrupted : `stop` asked for it.
    NotConverged : not even the first panel could be solved.

    Examples
    --------
    >>> import dmft
    >>> solution = dmft.solve(dmft.Problem(), t_max=1.0, n_paths=256, replicates=2)
    >>> solution.status
    'done'
    """
    settings = SolverSettings(
        t_max=t_max, n_paths=n_paths, replicates=replicates, rtol=rtol, seed=seed,
        target_error=target_error, max_replicates=max_replicates,
    )  # fmt: skip
    if threads is not None and threads < 1:
        raise InputError(f"given {threads}, must be at least 1", "threads")
    require_squared(problem)
    require_plain_steps(problem)
    with thread_pool(threads) as pool, shown(progress, "solve") as report:
        run = _run_type(problem)
        callbacks = (report, checkpoint, checkpoint_seconds, stop)
        return run(problem, settings, pool, *callbacks).finish(resume)


def _run_type(problem: Problem) -> type[Run]:
    """The solve that a dynamics asks for."""
    if problem.dynamics.discrete:
        from dmft.solver.descent_run import DescentRun

        return DescentRun
    if isinstance(problem.dynamics, StochasticGradientFlow):
        from dmft.solver.stochastic import StochasticRun

        return StochasticRun
    return Run


class Run:
    """One solve: its settings, its callbacks and what has been computed so far."""

    march_type: type[March] = March
    rows_type: type[PanelRows] = PanelRows
    costs: Costs = FLOW_COSTS
    wide = True  # importance sampling of the noise, see Sample

    def __init__(
        self,
        problem: Problem,
        settings: SolverSettings,
        pool: ThreadPoolExecutor | None,
        progress: Callable[[Progress], None] | None,
        checkpoint: Callable[[State], None] | None,
        checkpoint_seconds: float,
        stop: Callable[[], bool] | None,
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._pool = pool
        self._progress = progress
        self._checkpoint = checkpoint
        self._interval = checkpoint_seconds
        self._stop = stop
        self._saved_at = time.monotonic()
        self._meter = WorkMeter(self.costs, PILOT_PATHS, settings.n_paths)
        self._plan: Plan | None = None
        self._splits = 0
        self._done = Replicates(problem)
        self._march: March | None = None
        self._unfinished: State | None = None  # of the replicate that failed last
        self._control: StepControl | None = None

    def finish(self, resume: Saved | None) -> Solution:
        """Run to the end, from the beginning or from a saved state."""
        pending = self._restore(resume) if resume else None
        if self._plan is None:
            self._plan = self._run_pilot(pending)
            pending = None
        plan = self._plan
        while self._done.count < self._wanted():
            failed = self._run_replicate(plan, pending)
            pending = None
            if failed is not None:
                if self._done.count == 0:  # nobody else has passed the panels before this one
                    pending = self._unfinished
                plan = self._plan = self._other_plan(plan, failed)
        return self._done.solution(self._settings, self._grid(plan), *self._verdict(plan.reason))

    def _finished(self, march: March) -> Finished:
        return finished(self._problem, march)

    def _grid(self, plan: Plan) -> Grid:
        return panel_grid(plan)

    def _wanted(self) -> int:
        """Replicates to compute, as far as is known now."""
        settings = self._settings
        if settings.target_error is None or self._done.count < settings.replicates:
            return settings.replicates
        if self._done.relative_error() <= settings.target_error:
            return self._done.count
        return max(settings.replicates, min(self._done.count + 1, settings.max_replicates))

    def _verdict(self, reason: str) -> tuple[str, str]:
        target = self._settings.target_error
        if not reason and target is not None and self._done.relative_error() > target:
            reason = (
                f"relative standard error {self._done.relative_error():.2g} after "
                f"{self._done.count} replicates, above target_error {target:g}"
            )
        rise, node = self._done.rise()
        descends = self._problem.dynamics == GradientFlow()
        if not reason and rise and descends:
            reason = (
                f"train_mse rises by {rise:.0%} up to node {node}, which gradient flow cannot do: "
                "too few paths"
            )
        return ("not-converged", reason) if reason else ("done", "")

    # ------------------------------------------------------------------ pilot and replicates

    def _run_pilot(self, pending: State | None) -> Plan:
        march = self._start_march(PILOT_PATHS, 0, None, _FIRST_CAPACITY)
        control = self._control = StepControl(self._problem, march, self._settings.rtol)
        if pending:
            self._replay(march, pending)
            control.restore(pending["control"])
        t_max = self._settings.t_max
        for attempt in adaptive_panels(march, control, t_max):
            self._after_panel(attempt, t_max)
            control.reason = self._hopeless(march)
            if control.reason:
                break
        self._done.add_work(march.work)
        self._march = self._control = None
        return make_plan(march, control, t_max)

    def _hopeless(self, march: March) -> str:
        """Why the pilot should not go on, if it should not."""
        return ""

    def _run_replicate(self, plan: Plan, pending: State | None) -> int | None:
        """March one replicate over the plan; the number of the panel that failed, if one did."""
        panels = len(plan.edges) - 1
        count = self._settings.n_paths
        self._check_memory(count, panels)
        march = self._start_march(count, self._done.count + 1, plan.rotation, panels)
        if pending:
            self._replay(march, pending)
        for panel in range(len(march.rows), panels):
            step = plan.edges[panel + 1] - plan.edges[panel]
            attempt = march.attempt(step, plan.directions[panel])
            if attempt is None or not attempt.converged:
                self._done.add_work(march.work)
                work = dict.fromkeys(march.work, 0.0)
                self._unfinished = {"work": work, "panels": _saved(march.rows)}
                self._march = None
                return panel
            march.commit(attempt.rows)
            self._after_panel(attempt, float(plan.edges[-1]))
        self._done.add_work(march.work)
        self._done.add(self._finished(march))
        self._march = None
        return None

    def _other_plan(self, plan: Plan, panel: int) -> Plan:
        """After a replicate failed on a panel: cut it in two, or give up the time beyond it.

        All replicates share the panels, so those that have finished start again.
        """
        work, self._done = self._done.work, Replicates(self._problem)
        self._done.work = work
        if self._splits < _MOST_SPLITS:
            self._splits += 1
            return plan.split(panel)
        if panel == 0:
            raise NotConverged("the first panel did not converge, nothing was reached")
        reason = f"the sweeps did not converge beyond t = {plan.edges[panel]:.6g}"
        if plan.reason:
            reason += f"; the pilot {plan.reason}"
        return plan.cut(panel, reason)

    def _start_march(
        self, count: int, index: int, rotation: np.ndarray | None, panels: int
    ) -> March:
        """A new march; index 0 is the pilot, replicates count from 1."""
        seed = np.random.SeedSequence(self._settings.seed, spawn_key=(index,))
        sample = Sample(self._problem, count, seed, rotation, self.wide)
        tolerance = _SWEEP_TOLERANCE * self._settings.rtol
        with _no_garbage_collection():  # the first march loads the compiled kernels
            self._march = self.march_type(self._problem, sample, self._pool, panels, tolerance)
        return self._march

    def _check_memory(self, count: int, panels: int) -> None:
        # Tangents in single precision, of the linear network in double, and some vectors per node.
        size = 8.0 if self._problem.network.code == LINEAR else 4.0
        tangents = size * STAGES**2 * panels * (panels + 1) / 2
        traced = self.march_type.traced_of(self._problem, count)
        excess = memory_excess(traced * tangents + count * 64.0 * STAGES * panels)
        if excess:
            raise InputError(
                f"given {count}, which {excess} for {panels} panels: take fewer paths and more "
                "replicates",
                "solver.n_paths",
            )

    # ------------------------------------------------------------------ progress and checkpoints

    def _after_panel(self, attempt: Attempt, t_max: float) -> None:
        assert self._march is not None
        march = self._march
        self._after(len(march.rows), march.time, t_max, attempt.time_error, attempt.sweeps)

    def _after(
        self, panels: int, reached: float, t_max: float, error: float = 0.0, sweeps: int = 0
    ) -> None:
        """Report how far the march under way is, save a checkpoint when it is time, stop."""
        if self._progress is not None:
            count, wanted = self._done.count, self._wanted()
            fraction, left, stage = self._work_done(panels, reached, t_max)
            self._progress(
                Progress(fraction, left, stage, count, wanted, reached, t_max, error, sweeps)
            )
        now = time.monotonic()
        stopping = self._stop is not None and self._stop()
        if self._checkpoint is not None and (stopping or now - self._saved_at >= self._interval):
            self._checkpoint(self._state())
            self._saved_at = time.monotonic()
        if stopping:
            raise Interrupted("stopped on request")

    def _work_done(
        self, panels: int, reached: float, t_max: float
    ) -> tuple[float, float | None, str]:
        """Fraction of the work, seconds left and the stage in words."""
        count, wanted = self._done.count, self._wanted()
        if self._plan is None:
            known = int(t_max) if self._problem.dynamics.discrete else None
            return *self._meter.pilot_panel(panels, reached, t_max, wanted, known), "pilot"
        planned = len(self._plan.edges) - 1
        told = self._meter.replicate_panel(panels, planned, count, wanted)
        return *told, f"replicate {count + 1}/{wanted}"

    def _state(self) -> State:
        """Everything needed to continue to the identical result."""
        state: State = {"splits": self._splits, "replicates": self._done.state()}
        if self._plan is not None:
            state["plan"] = {
                "edges": self._plan.edges,
                "directions": self._plan.directions,
                "rotation": self._plan.rotation,
                "reason": self._plan.reason,
            }
        if self._march is not None:
            state["march"] = {
                "work": dict(self._march.work),
                "panels": _saved(self._march.rows),
            }
            if self._control is not None:
                state["march"]["control"] = self._control.state()
        return state

    def _restore(self, state: Saved) -> State | None:
        """Take up a saved state; what remains is the march that was under way."""
        try:
            self._splits = state["splits"]
            self._done = Replicates.from_state(self._problem, state["replicates"])
            if "plan" in state:
                self._plan = Plan(**state["plan"])
        except (KeyError, TypeError) as error:
            raise InputError(f"given a state without {error}, cannot resume", "resume") from None
        return state.get("march")

    def _replay(self, march: March, pending: State) -> None:
        """Commit the saved panels again: a small part of the work of solving them."""
        try:
            panels = _restored(pending["panels"], self.rows_type)
        except (KeyError, TypeError) as error:
            raise InputError(f"given panels of another version: {error}", "resume") from None
        for rows in panels:
            march.commit(rows)
        march.work = dict(pending["work"])


def memory_excess(needed: float) -> str:
    """Words on how much more memory is needed (bytes) than there is; none if it is enough."""
    if not hasattr(os, "sysconf"):
        return ""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= _MEMORY_SHARE * available:
        return ""
    return f"needs {needed / 2**30:.1f} GiB (this machine has {available / 2**30:.1f})"


def _saved(panels: Sequence[PanelRows]) -> State:
    return {str(index): asdict(rows) for index, rows in enumerate(panels)}


def _restored(saved: Saved, kind: type[PanelRows]) -> tuple[PanelRows, ...]:
    return tuple(kind(**saved[str(index)]) for index in range(len(saved)))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What a compiler's modules define all stays: looking it through takes a fifth of the start."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
