"""One solve: a pilot, then independent replicates, with progress, checkpoints and stopping.

A finished solve is extended from what it kept: more replicates are added to those there are. For a
later time replicate 1 goes on where it ended and chooses the panels that follow, in place of a
pilot; the others go on over these. What was there stays: its panels, its noise and its rotation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from dmft.errors import InputError, Interrupted
from dmft.problem import Problem
from dmft.progress import Progress
from dmft.results.observables import UserObservable
from dmft.results.solution import Solution
from dmft.settings import SolverSettings
from dmft.solver.ended import Ended, marches_in
from dmft.solver.extension import check_label, label_of
from dmft.solver.plan import Plan
from dmft.solver.progress import WorkMeter
from dmft.solver.replicates import Replicates
from dmft.solver.scheme import Advance, PanelFailed, Replicate, Saved, Scheme, Tree, Underway
from dmft.solver.state import check_state
from dmft.solver.time_limit import TimeLimit

_OTHER_VERSION = "given a state of another version, cannot resume: solve again"
_MOST_KEPT = 2.0**28  # bytes of marches that stay in memory


class Run:
    """One solve: its settings, its callbacks and what has been computed so far."""

    def __init__(
        self,
        problem: Problem,
        settings: SolverSettings,
        scheme: Scheme,
        progress: Callable[[Progress], None] | None = None,
        checkpoint: Callable[[Tree], None] | None = None,
        checkpoint_seconds: float = 60.0,
        stop: Callable[[], bool] | None = None,
        observables: Mapping[str, UserObservable] | None = None,
        keep: Callable[[Tree], None] | None = None,
        keep_paths: bool = True,
        limit: TimeLimit | None = None,
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._scheme = scheme
        self._progress = progress
        self._checkpoint = checkpoint
        self._interval = checkpoint_seconds
        self._stop = stop
        self._observables = observables
        self._keep = keep
        self._keep_paths = keep is not None and keep_paths
        self._limit = limit
        self._cut_short = ""  # why there are fewer replicates than wanted
        self._former: Plan | None = None  # of the solve that is extended to a later time
        self._known: dict[str, np.ndarray] = {}  # curves of that solve, (replicates, nodes)
        self._marches: dict[str, Tree] = {}  # what finished ones kept, the pilot's under "0"
        self._ended: dict[str, Ended] = {}  # those of them that are still in memory
        self._saved_at = time.monotonic()
        self._meter = WorkMeter(scheme.costs, scheme.pilot_paths, settings.n_paths)
        self._plan: Plan | None = None
        self._failures = 0  # panels of the plan that a replicate could not pass
        self._done = Replicates(problem)
        self._march: Underway | None = None

    def finish(self, resume: Saved | None) -> Solution:
        """Run to the end, from the beginning or from a saved state."""
        pending = self._restore(resume) if resume else None
        if self._plan is None:
            self._plan, pending = self._run_pilot(pending), None
        while self._done.count < self._wanted() and not self._cut_short:
            pending = pending or self._taken_up(str(self._done.count + 1))
            pending = self._run_replicate(self._plan, pending)
        if self._keep is not None:
            self._keep(self._saved() | ({"ended": self._ended} if self._ended else {}))
        plan = self._plan

        def time_error(name: str, mean: np.ndarray) -> np.ndarray:
            return self._scheme.time_error(name, mean, plan)

        verdict = self._verdict("; ".join(filter(None, (plan.reason, self._cut_short))))
        grid, rtol = self._scheme.grid(plan), plan.rtol or None
        return self._done.solution(self._settings, grid, time_error, *verdict, rtol)

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
        runaway = self._done.runaway()
        if not reason and runaway:
            replicate, node = runaway
            remedy = ", or a smaller step" if self._problem.dynamics.discrete else ""
            reason = (
                f"replicate {replicate + 1} runs away from the others at node {node}: a few paths "
                f"decide; take more n_paths{remedy}"
            )
        rise, node = self._done.rise()
        if not reason and rise and self._scheme.descends:
            reason = (
                f"train_mse rises by {rise:.0%} up to node {node}, which gradient flow cannot do: "
                "too few paths"
            )
        return ("not-converged", reason) if reason else ("done", "")

    # ------------------------------------------------------------------ pilot and replicates

    def _run_pilot(self, pending: Saved | None) -> Plan:
        if self._former is not None:
            return self._run_onward(self._former, pending)
        pilot = self._scheme.pilot(pending)
        early = self._follow(pilot, self._settings.t_max, self._ends_pilot)
        counted = dict(pilot.work)
        plan = pilot.plan(early)  # which may take a rehearsal
        self._done.add_work({name: pilot.work[name] - counted[name] for name in counted})
        self._keep_march(0, pilot)
        return plan

    def _ends_pilot(self, advance: Advance) -> str:
        """Why what chooses the panels must not go on, or ""."""
        limit, t_max = self._limit, self._settings.t_max
        return limit.ends_pilot(advance.time, t_max) if limit else ""

    def _run_replicate(self, plan: Plan, pending: Saved | None) -> Tree | None:
        """March one replicate over the plan; where the next may begin, if this one has failed."""
        self._scheme.check_memory(plan.panels)
        replicate = self._scheme.march(plan, self._done.count + 1, pending)
        count, limit = self._done.count, self._limit
        try:
            self._cut_short = self._follow(
                replicate, plan.end, lambda _: limit.ends_replicates(count) if limit else ""
            )
        except PanelFailed as failure:
            # Nobody else has passed the panels before this one, or all start again: they share
            # the panels.
            kept = failure.kept if self._done.count == 0 else None
            work, self._done = self._done.work, Replicates(self._problem)
            self._done.work = work
            self._plan = self._scheme.other_plan(plan, failure.panel, self._failures)
            self._failures += 1
            self._known = {}
            self._cut_marches(failure.panel)
            return kept
        if not self._cut_short:
            self._take(replicate)
        return None

    def _take(self, replicate: Replicate) -> None:
        """Add a replicate that is at its end to those that are done."""
        threshold, index = self._settings.active_threshold, self._done.count
        known = {name: rows[index] for name, rows in self._known.items() if index < len(rows)}
        self._done.add(replicate.finish(), threshold, self._observables, known)
        self._keep_march(self._done.count, replicate)

    def _follow(self, march: Underway, t_max: float, enough: Callable[[Advance], str]) -> str:
        """Let it march to its end, to its failure, or until it is enough; why it was."""
        self._march, reason = march, ""
        try:
            for seen, advance in enumerate(march.panels(), start=1):
                self._after(advance, advance.panels or seen, t_max)
                reason = enough(advance)
                if reason:
                    break
        except PanelFailed:
            self._done.add_work(march.work)
            raise
        finally:
            self._march = None
        self._done.add_work(march.work)
        return reason

    # ------------------------------------------------------------------ progress and checkpoints

    def _after(self, advance: Advance, panels: int, t_max: float) -> None:
        """Report how far the march under way is, save a checkpoint when it is time, stop."""
        if self._former is not None:  # nobody knew how many panels there would be
            self._scheme.check_memory(panels + 1)
        if self._progress is not None:
            self._progress(self._report(advance, panels, t_max))
        now = time.monotonic()
        stopping = self._stop is not None and self._stop()
        if self._checkpoint is not None and (stopping or now - self._saved_at >= self._interval):
            self._checkpoint(self._saved())
            self._saved_at = time.monotonic()
        if stopping:
            raise Interrupted("stopped on request")

    def _report(self, advance: Advance, panels: int, t_max: float) -> Progress:
        count, wanted = self._done.count, self._wanted()
        if self._former is not None:
            stage = f"replicate 1/{wanted}"
            told = self._meter.onward_panel(panels, advance.time, t_max, wanted)
        elif self._plan is None:
            stage, known = "pilot", int(t_max) if self._problem.dynamics.discrete else None
            told = self._meter.pilot_panel(panels, advance.time, t_max, wanted, known)
        else:
            stage = f"replicate {count + 1}/{wanted}"
            told = self._meter.replicate_panel(panels, self._plan.panels, count, wanted)
        error, sweeps = advance.error, advance.sweeps
        return Progress(*told, stage, count, wanted, advance.time, t_max, error, sweeps)

    def _saved(self) -> Tree:
        """Everything needed to continue to the identical result."""
        state: Tree = {
            "of": label_of(self._problem, self._settings),
            "method": self._scheme.method,
            "splits": self._failures,
            "replicates": self._done.state(),
        }
        if self._plan is not None:
            state["plan"] = self._plan.saved()
        if self._former is not None:
            state["beyond"] = self._former.saved()
        if self._known and self._done.count < self._wanted():
            state["known"] = dict(self._known)
        if self._marches:
            state["marches"] = dict(self._marches)
        march = {} if self._march is None else self._march.saved()
        if march:
            state["march"] = march
        return state

    def _restore(self, state: Saved) -> Saved | None:
        """Take up a saved state; what remains is the march that was under way.

        Raises
        ------
        InputError : it is no state, or that of another solve.
        """
        if "of" in state:  # older ones do not say
            check_label(state["of"], self._problem, self._settings)
        check_state(state)
        if state.get("method", "") != self._scheme.method:
            raise InputError(_OTHER_VERSION, "resume")
        try:
            self._failures = state["splits"]
            self._done = Replicates.from_state(self._problem, state["replicates"])
            if "plan" in state:
                self._plan = Plan.restored(state["plan"])
            if "beyond" in state:
                self._former = Plan.restored(state["beyond"])
            self._known = dict(state.get("known", {}))
            self._marches = dict(state.get("marches", {}))
            self._ended = marches_in(state.get("ended"))
        except (KeyError, TypeError) as error:
            raise InputError(f"given a state without {error}, cannot resume", "resume") from None
        if "former" in state:
            raise InputError(_OTHER_VERSION, "resume")
        nodes = self._done.nodes
        if self._plan and nodes not in (0, len(self._scheme.grid(self._plan).time)):
            raise InputError("given a state whose curves do not fit its plan", "resume")
        return None if self._goes_on(self._plan) else state.get("march")

    # ------------------------------------------------------------------ to a later time

    def _goes_on(self, plan: Plan | None) -> bool:
        """Whether a finished plan ends before t_max; prepares to go on from there."""
        if plan is None or plan.reason or plan.end >= self._settings.t_max * (1.0 - 1e-12):
            return False
        work, curves = self._done.work, self._done.curves
        self._known = {} if self._observables else {k: np.array(v) for k, v in curves.items()}
        self._done = Replicates(self._problem)
        self._done.work = work
        self._former, self._plan = plan, None
        return True

    def _run_onward(self, former: Plan, pending: Saved | None) -> Plan:
        """Let replicate 1 go on and choose the panels for all; the plan with these."""
        kept = {**self._marches.get("0", {}), **(self._taken_up("1") or {})}
        onward = self._scheme.onward(former, pending or kept)
        early = self._follow(onward, self._settings.t_max, self._ends_pilot)
        plan, self._former = former.extended(onward.plan(early), len(kept["panels"])), None
        self._keep_march(0, onward)
        self._take(onward.replicate(plan))
        return plan

    def _keep_march(self, index: int, march: Underway) -> None:
        kept = self._scheme.kept(march) if self._keep is not None else {}
        if kept:
            self._marches[str(index)] = kept
        self._ended.pop(str(index), None)
        ended = self._scheme.ended(march) if kept and self._keep_paths else None
        if ended and ended.size + sum(each.size for each in self._ended.values()) <= _MOST_KEPT:
            self._ended[str(index)] = ended

    def _taken_up(self, index: str) -> Tree | None:
        """What a replicate goes on from: the rows of its panels, its march if that is in memory."""
        kept = self._marches.get(index)
        return {**kept, "ended": self._ended.get(index)} if kept else None

    def _cut_marches(self, panel: int) -> None:
        """Forget what replicates did from a panel on."""
        for index in self._marches.keys() - {"0"}:
            rows = self._marches[index]["panels"]
            kept = {str(number): rows[str(number)] for number in range(min(panel, len(rows)))}
            self._marches[index] = {**self._marches[index], "panels": kept}
