"""The contract between a solve and the scheme that marches it.

`Run` (run.py) owns what every solve has: replicates, progress, checkpoints, stopping, the verdict.
A `Scheme` owns the numerics of one kind of dynamics: how a pilot finds the plan, how a replicate
marches over it and what it leaves behind. A new scheme is one module with a class that has the
methods below (no base class to inherit, nothing to override) and one branch in `schemes.scheme_of`.

One solve, as `Run` calls a scheme:

    pilot = scheme.pilot(saved)             # marched once
    for advance in pilot.panels(): ...      # Run reports, saves pilot.saved(), stops
    plan = pilot.plan()
    for index in 1, 2, ...:
        scheme.check_memory(plan.panels)
        replicate = scheme.march(plan, index, saved)
        for advance in replicate.panels(): ...       # may raise PanelFailed
        finished = replicate.finish()
    grid = scheme.grid(plan)

To a later time, the first replicate of a finished solve goes on in place of the pilot:

    onward = scheme.onward(plan, saved)
    for advance in onward.panels(): ...
    plan = plan.extended(onward.plan(), plan.panels)
    finished = onward.replicate(plan).finish()

Rules that keep a solve reproducible:
- every random number derives from `SeedSequence(settings.seed, spawn_key=(index,))`, index 0 in the
  pilot and 1, 2, ... in replicates (`sampling_seed`);
- what is saved, handed to a march that begins again, continues it to the identical numbers: either
  the rows of its panels, to be committed again, or its state where that is small;
- all replicates of a plan leave curves and kernels on the nodes of `grid(plan)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from dmft.results.observables import (
    Samples,
    UserObservable,
    Weights,
    derived_curves,
    sample_curves,
    weight_curves,
)
from dmft.results.solution import SamplePaths
from dmft.settings import SolverSettings
from dmft.solver.ended import Ended
from dmft.solver.plan import Plan
from dmft.solver.progress import Costs

_BESIDE = 2**31  # beyond the number of any replicate
Tree = dict[str, Any]  # nested, of arrays, numbers and text: what a checkpoint can hold
Saved = Mapping[str, Any]


@dataclass(frozen=True)
class Advance:
    """One panel, or step, that a march has made.

    time : where it ends. error : estimated relative time error. sweeps : that it took.
    panels : that the march has now, those of before an interruption too; by default those seen.
    """

    time: float
    error: float = 0.0
    sweeps: int = 0
    panels: int | None = None


class PanelFailed(ArithmeticError):
    """A replicate cannot pass a panel of the plan.

    panel : its number. kept : a saved form of the march before it, with counters of work at zero,
        from which the replicate may continue on another plan; None to begin again.
    """

    def __init__(self, panel: int, kept: Tree | None = None) -> None:
        super().__init__(f"panel {panel}")
        self.panel, self.kept = panel, kept


@dataclass(frozen=True)
class Finished:
    """What a replicate leaves behind when its march is over.

    weights : of all paths on the nodes, from which the table of observables makes curves.
    curves : observables that are known otherwise, by name: train_mse and train_loss of the squared
        loss, and what is more exact than the table's average. They win over the table.
    samples : fields of the sampled data rows, where there are any.
    kernels : the correlations and responses of `Kernels`, shape (time, time).
    parameters : E[u(t) u(s) + v(t) v(s)], None but at depth 2.
    fewer : the same of a march of its own with fewer paths, on as many nodes as it reached.
    lever : what the bias of a curve is of its difference between the two.
    """

    weights: Weights
    curves: dict[str, np.ndarray]
    kernels: dict[str, np.ndarray]
    parameters: np.ndarray | None
    paths: SamplePaths
    samples: Samples | None = None
    fewer: Finished | None = None
    lever: float = 0.0

    def observed(
        self,
        threshold: float,
        user: Mapping[str, UserObservable] | None,
        known: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """All curves, in the order of the table of observables; known : on the first nodes."""
        first = len(next(iter(known.values()))) if known else 0
        part = replace(self.weights, threshold=threshold)
        found = weight_curves(part.since(first), user)
        if self.samples is not None:
            found |= sample_curves(self.samples.since(first))
        curves = derived_curves(found | {name: row[first:] for name, row in self.curves.items()})
        if known:
            if not curves.keys() <= known.keys():  # an older state
                return self.observed(threshold, user)
            curves = {name: np.concatenate([known[name], row]) for name, row in curves.items()}
        return curves


@dataclass(frozen=True)
class Grid:
    """Times, panel numbers and quadrature weights of all nodes, t = 0 first."""

    time: np.ndarray
    panel: np.ndarray
    weights: np.ndarray


class Underway(Protocol):
    """A march under way."""

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done, by name; also valid when the march has failed."""
        ...

    def panels(self) -> Iterator[Advance]:
        """March on from where it stands; yields after every committed panel.

        Raises
        ------
        PanelFailed : only in a replicate.
        """
        ...

    def saved(self) -> Tree:
        """What `Scheme.pilot` or `Scheme.march` needs to continue from here; {} to begin again."""
        ...


class Pilot(Underway, Protocol):
    """The march that finds the plan."""

    def plan(self, early: str = "") -> Plan:
        """What was found; called when `panels` is exhausted, or earlier with the reason.

        Raises
        ------
        NotConverged : not even the first panel could be made.
        """
        ...


class Replicate(Underway, Protocol):
    """The march of one replicate."""

    def finish(self) -> Finished:
        """What it leaves behind; called when `panels` is exhausted."""
        ...


class Onward(Pilot, Protocol):
    """A replicate that goes on beyond a plan and finds what follows for all, as a pilot does."""

    def replicate(self, plan: Plan) -> Replicate:
        """The march as that of a replicate, at the end of the plan; when `panels` is exhausted."""
        ...


class Scheme(Protocol):
    """How the dynamics of a problem is marched.

    descends : whether train_mse can only fall, so that a rise means too few paths.
    method : what marches do otherwise than those of older versions did, "" if nothing; a state of
        another method cannot be resumed.
    costs : of panels and endings, from which the time left is told.
    pilot_paths : how many paths a pilot has.
    """

    descends: bool
    method: str
    costs: Costs
    pilot_paths: int

    def pilot(self, saved: Saved | None) -> Pilot:
        """A pilot at its start, or where `Underway.saved` left it.

        Raises
        ------
        InputError : what is saved comes from another version.
        """
        ...

    def onward(self, plan: Plan, saved: Saved) -> Onward:
        """Replicate 1 of a finished solve at the end of its plan, or where it was left on the way.

        saved : what was kept of the pilot and of the replicate, or what `Underway.saved` says.

        Raises
        ------
        InputError : a finished solve of this scheme cannot be continued.
        """
        ...

    def march(self, plan: Plan, index: int, saved: Saved | None) -> Replicate:
        """Replicate `index`, counted from 1, at its start or where it was left."""
        ...

    def other_plan(self, plan: Plan, panel: int, failures: int) -> Plan:
        """What to try when a replicate fails on a panel, after so many earlier failures.

        Raises
        ------
        NotConverged : nothing was reached.
        """
        ...

    def grid(self, plan: Plan) -> Grid:
        """The nodes on which replicates of a plan leave their curves."""
        ...

    def check_memory(self, panels: int) -> None:
        """Refuse replicates of so many panels that this machine cannot hold.

        Raises
        ------
        InputError : it says what to change.
        """
        ...

    def kept(self, march: Underway) -> Tree:
        """What of a finished march serves to continue it to a later time; {} if nothing does.

        The `panels` of a replicate are numbered, and may be cut off behind any of them.
        """
        ...

    def ended(self, march: Underway) -> Ended | None:
        """The march of a replicate that is over, if it can go on in memory (ended.py)."""
        ...

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """What the time discretisation and a finite number of paths may add to a mean curve.

        An absolute error on its nodes, which replicates share.
        """
        ...


def sampling_seed(
    settings: SolverSettings, index: int, *, beside: bool = False
) -> np.random.SeedSequence:
    """Where the random numbers of a march come from; index 0 is the pilot.

    beside : of the march beside a replicate, if there is one.
    """
    key = (_BESIDE, index) if beside else (index,)
    return np.random.SeedSequence(settings.seed, spawn_key=key)
