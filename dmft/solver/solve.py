"""The door of the solver: settings are checked, a scheme is chosen, a run makes the solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.workers import thread_pool
from dmft.problem import Problem
from dmft.progress import Progress, shown
from dmft.results.observables import UserObservable, check_user_observables
from dmft.results.solution import Solution
from dmft.settings import SolverSettings
from dmft.solver.extension import state_in
from dmft.solver.run import Run
from dmft.solver.scheme import Saved, Tree
from dmft.solver.schemes import scheme_of
from dmft.solver.state import require_state
from dmft.solver.time_limit import TimeLimit


def solve(
    problem: Problem,
    *,
    t_max: float | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    n_paths: int = 4096,
    replicates: int = 4,
    rtol: float = 1e-3,
    seed: int = 0,
    target_error: float | None = None,
    max_replicates: int = 64,
    active_threshold: float = 0.1,
    observables: Mapping[str, UserObservable] | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    checkpoint: Callable[[Tree], None] | None = None,
    checkpoint_seconds: float = 60.0,
    keep: Callable[[Tree], None] | None = None,
    keep_paths: bool = True,
    resume: Saved | str | Path | None = None,
    stop: Callable[[], bool] | None = None,
    time_limit: float | None = None,
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
        steps; by default the last of `times`, or 100.
    times : times that results are wanted at exactly, in the same units: nodes of `Solution.time`.
        Between nodes, at no cost, there is `Solution.curve_at`.
    n_paths : paths of the effective process in each replicate; the sampling error falls like a
        power of it, measured to be 1.2 on the default problem up to 8192 paths.
    replicates : independent replicates, at least 2 for error bars.
    rtol : relative error allowed to the time discretisation of the weights, hence of excess_risk.
        A train_mse that vanishes exponentially keeps fewer digits. Unused in discrete dynamics.
    seed : every random number derives from it.
    target_error : if given, replicates are added until the relative standard error of excess_risk
        is below it at all times, at most `max_replicates`.
    active_threshold : |w| above which a weight counts as active.
    observables : functions by name that map weights (path, time) and teacher (path, 1) to values
        of the shape of the weights; their means become curves with error bars.
    threads : worker threads; all processors by default.
    progress : called with a `dmft.progress.Progress` after each panel; True shows a bar.
    checkpoint : called with the state of the solve about every `checkpoint_seconds` and before
        an interruption; the state is a tree of arrays, numbers and text.
    keep : called at the end with the state from which the solve can be extended later.
    keep_paths : whether this state also holds the paths as they are at the end, up to 256 MB of
        them: in this process an extension then repeats nothing. Files and pickles do without.
    resume : such a state, or the file of `dmft solve` that has one. A state of an unfinished solve
        is continued to the identical result; a finished one is extended to more replicates, which
        gives the identical result too, or a flow to a later t_max: it goes on from its end, what is
        there keeps its times and noise.
    stop : polled after each panel; when it returns True the solve raises Interrupted.
    time_limit : seconds within which the solve should end, from its second panel on, which has all
        code compiled. It then ends at an earlier time or with fewer replicates, two at least, and
        says so in its `reason`; how far it comes depends on the machine.

    Returns
    -------
    Solution, with status "not-converged" and a reason if the accuracy or t_max was not reached.

    Raises
    ------
    InputError : a setting outside its range, or more memory needed than there is; `resume` is of
        another problem, or cannot be extended so.
    Interrupted : `stop` asked for it.
    NotConverged : not even the first panel could be solved.

    Examples
    --------
    >>> import dmft
    >>> solution = dmft.solve(dmft.Problem(), t_max=1.0, n_paths=256, replicates=2)
    >>> solution.status
    'done'
    """
    ends: dict[str, Any] = {} if t_max is None else {"t_max": t_max}
    if times is not None:
        ends["times"] = times.tolist() if isinstance(times, np.ndarray) else times
    settings = SolverSettings(
        **ends, n_paths=n_paths, replicates=replicates, rtol=rtol, seed=seed,
        target_error=target_error, max_replicates=max_replicates,
        active_threshold=active_threshold,
    )  # fmt: skip
    if threads is not None and threads < 1:
        raise InputError(f"given {threads}, must be at least 1", "threads")
    if time_limit is not None and not time_limit > 0.0:
        raise InputError(f"given {time_limit}, must be above 0", "time_limit")
    check_user_observables(observables)
    with thread_pool(threads) as pool, shown(progress, "solve") as report:
        scheme = scheme_of(problem, settings, pool)
        callbacks = (report, checkpoint, checkpoint_seconds, stop, observables, keep, keep_paths)
        limit = None if time_limit is None else TimeLimit(time_limit)
        if isinstance(resume, str | Path):
            resume = state_in(Path(resume), problem, settings)
        require_state(resume)
        return Run(problem, settings, scheme, *callbacks, limit).finish(resume)
