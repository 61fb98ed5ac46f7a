"""Ensembles of finite-dimensional runs: the door of the simulator."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from dmft.errors import InputError, Interrupted
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow, step_count, stored_steps
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.population import strata
from dmft.progress import Progress, shown
from dmft.results.observables import (
    UserObservable,
    check_user_observables,
    observables_of,
)
from dmft.results.simulation import Simulation
from dmft.settings import SimulationSettings, SolverSettings
from dmft.simulation.data import sample_count
from dmft.simulation.ensemble_state import check_state
from dmft.simulation.ensemble_sums import EnsembleSums, RunSums
from dmft.simulation.flow import require_slopes
from dmft.simulation.run import make_run
from dmft.simulation.sampling import method_of
from dmft.simulation.workers import in_processes

_MEMORY_SHARE = 0.8
_OTHER_DRAWS = (
    "given runs of an older version, which drew teachers otherwise, not to be mixed with new ones: "
    "simulate all of them again"
)

Tree = dict[str, Any]  # nested, of arrays, numbers and text: what a checkpoint can hold


def simulate(
    problem: Problem,
    *,
    dimension: int = 2000,
    seeds: int = 8,
    times: Sequence[float] | np.ndarray | None = None,
    t_max: float = 100.0,
    seed: int = 0,
    design: str = "gaussian",
    stratified: bool = True,
    rtol: float = 1e-4,
    points: int = 40,
    active_threshold: float = 0.1,
    observables: Mapping[str, UserObservable] | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    workers: int = 1,
    checkpoint: Callable[[Tree], None] | None = None,
    resume: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Simulation:
    """Run the dynamics of a problem on an ensemble of finite-dimensional data sets.

    Each run draws X (n, d) with n = sampling_ratio d rounded, a teacher, a start and noise, and
    follows the flow of sum_i l(h_i, y_i) + (weight_decay/2) |parameters|^2, h = Xw, or makes the
    steps of gradient descent, SGD or an adaptive optimiser on it. Runs use one BLAS thread, so
    that the same seed gives the same numbers on any number of cores.

    Parameters
    ----------
    problem : what is learnt.
    dimension : d.
    seeds : number of independent runs; run i is the same whatever their number.
    times : recorded times in units of the flow, or steps, increasing, nonnegative; 0 is put in
        front if absent. By default 0 and `points` times, evenly spaced in log t, up to `t_max`.
    seed : every random number derives from it; the same seed gives the same arrays.
    design : "gaussian", "rademacher", "sparse" or "digits", see `data.standardised_design`.
    stratified : coordinates evenly over the population's quantiles and noise, with moments exact
        at the start (`sampling.stratified_coordinates`); otherwise all is drawn independently.
    rtol : relative error allowed to each step of the integrator.
    active_threshold : |w| above which a weight counts as active.
    observables : functions by name that map weights (coordinate, time) and teacher (coordinate, 1)
        to values of the shape of the weights; their means become curves with error bars.
    progress : called with a `dmft.progress.Progress` at every recorded time; True shows a bar.
    workers : processes that share the runs, which changes no bit of the result. With more than
        one, a script needs `if __name__ == "__main__":`, and observables must be importable.
    checkpoint : called after every run with the state of the ensemble, a tree of arrays, numbers
        and text.
    resume : such a state, also of fewer seeds, with the same observables; the runs in it are not
        made again.
    stop : polled; when it returns True the simulation raises Interrupted, its finished runs saved.

    Raises
    ------
    InputError : a value out of range, times that do not increase, a dimension without samples or
        beyond the memory, a dynamics that only the mean field has.
    Interrupted : `stop` asked for it.
    dmft.simulation.flow.IntegrationError : the flow could not be followed, or descent diverged.

    Examples
    --------
    >>> from dmft import Problem
    >>> from dmft.simulation import simulate
    >>> result = simulate(Problem(), dimension=100, seeds=2, times=[1.0, 10.0])
    >>> result.time
    array([ 0.,  1., 10.])
    >>> bool(result.train_mse[-1] < result.train_mse[0])
    True
    """
    given: dict[str, Any] = {
        "dimension": dimension,
        "seeds": seeds,
        "seed": seed,
        "design": design,
        "stratified": stratified,
        "rtol": rtol,
        "points": points,
        "active_threshold": active_threshold,
    }
    settings = SimulationSettings(**given)
    ends: dict[str, Any] = {"t_max": t_max}
    t_max = SolverSettings(**ends).t_max
    check_user_observables(observables)
    _check_dynamics(problem)
    if problem.dynamics.discrete:
        time = _steps(problem, settings.points, t_max, times)
    else:
        time = default_times(problem, settings.points, t_max) if times is None else _checked(times)
    _check_memory(problem, settings.dimension, len(time))
    sums = _restored(resume, problem, settings, time, observables or {})
    saved = _Saved(checkpoint, problem, settings, time, sums)
    one = partial(make_run, problem, settings, time, observables)
    stopping = stop or (lambda: False)
    with shown(progress, "simulate") as report:
        if _checked_workers(workers) == 1 or settings.seeds - sums.count < 2:
            for i in sums.missing(settings.seeds):
                saved.add(i, one(i, _polling(report, stopping)))
        else:
            missing = sums.missing(settings.seeds)
            for i, run in in_processes(one, missing, min(workers, len(missing)), stopping):
                saved.add(i, run)
                if report is not None:
                    report(_finished(sums, settings, float(time[-1])))
    return sums.simulation(problem, settings, time)


class _Saved:
    """Takes in runs, and hands the state of the ensemble to the caller after each."""

    def __init__(
        self,
        checkpoint: Callable[[Tree], None] | None,
        problem: Problem,
        settings: SimulationSettings,
        time: np.ndarray,
        sums: EnsembleSums,
    ) -> None:
        self._checkpoint, self._sums = checkpoint, sums
        origin = _origin(problem, settings, method_of(problem, settings))
        self._origin = {"origin": origin, "time": time}

    def add(self, number: int, run: RunSums) -> None:
        self._sums.add(number, run)
        if self._checkpoint is not None:
            self._checkpoint({**self._origin, "sums": self._sums.state()})


def _origin(problem: Problem, settings: SimulationSettings, method: str) -> str:
    """Everything that a run depends on, but its times: the number of runs does not matter.

    method : how coordinates are drawn; states of older versions do not say.
    """
    kept = {**settings.model_dump(mode="json"), "seeds": None}
    parts = [problem.model_dump(mode="json"), kept]
    return json.dumps([*parts, method] if method else parts, sort_keys=True)


def _restored(
    resume: Mapping[str, Any] | None,
    problem: Problem,
    settings: SimulationSettings,
    time: np.ndarray,
    user: Collection[str],
) -> EnsembleSums:
    """The sums of a saved state, of the same problem, settings, times and observables.

    Raises
    ------
    InputError : it is of others, of an older version that drew networks otherwise, or damaged.
    """
    if not resume:
        return EnsembleSums(len(time))
    try:
        origin, recorded, tree = resume["origin"], resume["time"], resume["sums"]
    except (KeyError, TypeError) as error:
        raise InputError(f"given a state without {error}, cannot resume", "resume") from None
    method, same_time = method_of(problem, settings), np.array_equal(recorded, time)
    if same_time and method and origin == _origin(problem, settings, ""):
        raise InputError(_OTHER_DRAWS, "resume")
    if origin != _origin(problem, settings, method) or not same_time:
        raise InputError("given a state of other settings, only `seeds` may grow", "resume")
    parameters = problem.network.code == DEPTH_TWO
    check_state(tree, len(time), {*observables_of(problem), *user}, parameters=parameters)
    sums = EnsembleSums.from_state(len(time), tree)
    if sums.count > settings.seeds:
        raise InputError(f"given {settings.seeds}, {sums.count} runs are there already", "seeds")
    return sums


def _polling(
    report: Callable[[Progress], None] | None, stop: Callable[[], bool]
) -> Callable[[Progress], None]:
    """A progress callback that also stops a run half-way; the runs before it are saved."""

    def poll(state: Progress) -> None:
        if report is not None:
            report(state)
        if stop():
            raise Interrupted("stopped on request")

    return poll


def _finished(sums: EnsembleSums, settings: SimulationSettings, t_max: float) -> Progress:
    done, runs = settings.seeds - len(sums.missing(settings.seeds)), settings.seeds
    return Progress(done / runs, None, f"simulation {done}/{runs}", done, runs, t_max, t_max)


def _checked_workers(workers: int) -> int:
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"given {workers!r}, must be an integer of at least 1", "workers")
    return workers


def default_times(problem: Problem, points: int, t_max: float) -> np.ndarray:
    """0 and `points` times evenly spaced in log t, shape (points + 1,).

    The first is a twentieth of the time unit, or of the time in which a lazy network learns, or
    t_max/100 if that is earlier.
    """
    power = 2 * problem.network.depth - 2
    rate = 0.0
    for stratum in strata(problem):
        middle = stratum.draw(np.full((1, stratum.random_dimensions), 0.5))
        size = np.abs(middle.a0[0]) ** power + np.abs(middle.b0[0]) ** power
        rate += stratum.probability * float(size)
    first = min(0.05 / max(rate, 1.0), t_max / 100.0)
    grid = np.geomspace(first, t_max, points)
    grid[-1] = t_max
    return np.concatenate([[0.0], grid])


def _check_dynamics(problem: Problem) -> None:
    if not problem.dynamics.discrete:
        require_slopes(problem.loss)
        require_gradient_flow(
            problem.dynamics,
            "a limit that no finite network has, simulate 'sgd' with the same step_size and "
            "batch_fraction: step k is at time k step_size",
        )


def _steps(
    problem: Problem, points: int, t_max: float, times: Sequence[float] | np.ndarray | None
) -> np.ndarray:
    """Recorded steps: those given, or stored ones of a solution, evenly spaced in their log."""
    if times is not None:
        given = _checked(times)
        step_count(max(given[-1], 1.0), "times")
        broken = given[given != np.floor(given)]
        if len(broken):
            raise InputError(f"given {broken[0]:g}, must be whole numbers of steps", "times")
        return given
    steps = step_count(t_max)
    stored = np.array(stored_steps(steps), dtype=float)
    wanted = np.geomspace(1.0, steps, points)
    nearest = np.abs(np.log(stored[1:])[None, :] - np.log(wanted)[:, None]).argmin(axis=1)
    return np.concatenate([[0.0], np.unique(stored[1:][nearest])])


def _checked(times: Sequence[float] | np.ndarray) -> np.ndarray:
    try:
        time = np.array(times, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"given {str(times)[:60]!r}, must be a list of numbers", "times") from None
    if time.ndim != 1 or not len(time):
        raise InputError(
            f"given an array of shape {time.shape}, must be a list of at least one time", "times"
        )
    if not np.isfinite(time).all():
        raise InputError(f"given {time[~np.isfinite(time)][0]}, must be finite", "times")
    if time[0] < 0.0:
        raise InputError(f"given {time[0]:g}, must not be negative", "times")
    falls = np.flatnonzero(np.diff(time) <= 0.0)
    if len(falls):
        before, after = time[falls[0]], time[falls[0] + 1]
        raise InputError(f"given {after:g} after {before:g}, must increase", "times")
    return time if time[0] == 0.0 else np.concatenate([[0.0], time])


def _check_memory(problem: Problem, d: int, times: int) -> None:
    n = sample_count(problem, d)
    small = min(n, d)
    # Features, their QR, triangle and scaled copy; H and its factor; paths; kernels.
    numbers = n * d * (3 if n > d else 1) + 2 * small * d + 3 * small**2
    numbers += 3 * times * (n + d) + 8 * times**2
    limit = _MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 8 * numbers > limit:
        raise InputError(
            f"given {d} at sampling ratio {problem.sampling_ratio:g}, needs "
            f"{8 * numbers / 1e9:.1f} GB, must fit {limit / 1e9:.1f} GB",
            "dimension",
        )
