"""Ensembles of finite-dimensional runs: the door of the simulator."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import StochasticGradientFlow, step_count, stored_steps
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.population import Coordinates, strata
from dmft.progress import Progress, shown
from dmft.results.curves import curve_of
from dmft.results.observables import (
    CHARGES,
    OBSERVABLES,
    Samples,
    UserObservable,
    Weights,
    check_user_observables,
    derived_curves,
    sample_curves,
    weight_curves,
)
from dmft.results.overlaps import BlockSums
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels
from dmft.settings import SimulationSettings, SolverSettings
from dmft.simulation.coordinates import start_of
from dmft.simulation.data import DataSet, draw_data, sample_count
from dmft.simulation.descent import descend
from dmft.simulation.flow import integrate, require_slopes
from dmft.simulation.losses import loss_slopes, loss_values

_MEMORY_SHARE = 0.8
_KERNELS = ("correlation_error", "correlation_residual", "overlap")


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
    stratified : coordinates at the population's quantiles, exact noise variance; otherwise
        everything is drawn independently.
    rtol : relative error allowed to each step of the integrator.
    active_threshold : |w| above which a weight counts as active.
    observables : functions by name that map weights (coordinate, time) and teacher (coordinate, 1)
        to values of the shape of the weights; their means become curves with error bars.
    progress : called with a `dmft.progress.Progress` at every recorded time; True shows a bar.

    Raises
    ------
    InputError : a value out of range, times that do not increase, a dimension without samples or
        beyond the memory, a dynamics that only the mean field has.
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
    kernels = [_Mean((len(time), len(time))) for _ in range(3)]
    blocks = BlockSums()
    curves: dict[str, list[np.ndarray]] = {}
    with shown(progress, "simulate") as report:
        for i, sequence in enumerate(np.random.SeedSequence(settings.seed).spawn(settings.seeds)):
            # The order of BLAS sums, and so the last digits, would depend on the number of threads;
            # and on a busy machine its spinning threads take a hundred times longer than one.
            with threadpool_limits(1, user_api="blas"):
                run = _run(problem, settings, sequence, time, i, report)
                errors, slopes, weights = run.errors, run.slopes, run.weights
                products = [rows @ rows.T / rows.shape[1] for rows in (errors, slopes, weights)]
                factors = (
                    None if run.factors is None else run.factors @ run.factors.T / weights.shape[1]
                )
            blocks.add(weights=products[2], parameters=factors)
            found = _curves(problem, run, settings.active_threshold, observables)
            for name, values in found.items():
                curves.setdefault(name, []).append(values)
            for kernel, product in zip(kernels, products, strict=True):
                kernel.add(product)
    means = {name: kernel.mean for name, kernel in zip(_KERNELS, kernels, strict=True)}
    return Simulation(
        problem=problem,
        settings=settings,
        time=time,
        seed=np.arange(settings.seeds),
        curves={name: curve_of(np.array(runs)) for name, runs in curves.items()},
        kernels=Kernels(
            **means,
            correlation_error_stderr=kernels[0].standard_error(),
            correlation_residual_stderr=kernels[1].standard_error(),
            overlap_stderr=kernels[2].standard_error(),
        ),
        blocks=blocks.blocks(),
    )


def _curves(
    problem: Problem,
    run: _Run,
    threshold: float,
    user: Mapping[str, UserObservable] | None,
) -> dict[str, np.ndarray]:
    """All observables of a run."""
    drawn, count = run.coordinates, run.weights.shape[1]
    known = {}
    if run.factors is not None:
        a, b = np.split(run.factors, 2, axis=1)
        with np.errstate(divide="ignore"):
            typical = np.mean(np.log(np.abs(a)) + np.log(np.abs(b)), axis=1)
        charges = {
            "mean_charge": 2.0 * np.mean(a * b, axis=1),
            "effective_alpha": np.exp(0.5 * typical),
        }
        known = {name: charges[name] for name in CHARGES if OBSERVABLES[name].exists(problem)}
    even = np.full(count, 1.0 / count)
    weights = Weights(
        problem, run.weights.T, drawn.teacher, drawn.variance, even, threshold=threshold
    )
    losses = loss_values(problem.loss, run.fields, run.labels)
    n = len(run.labels)
    samples = Samples(problem, run.fields.T, run.labels, losses.T, np.full(n, 1.0 / n))
    known |= {
        "train_mse": np.mean((run.fields - run.labels) ** 2, axis=1),
        "excess_risk": np.mean(run.errors**2, axis=1),
        "train_loss": np.mean(losses, axis=1),
    }
    return derived_curves({**weight_curves(weights, user), **sample_curves(samples), **known})


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


@dataclass(frozen=True)
class _Run:
    """One run: sqrt(s)(w - w*) and w of shape (time, d), h = Xw and l'(h, y) of shape (time, n).

    labels : y, shape (n,).
    factors : a and b side by side, up to signs that do not change, (time, 2 d); None but at
        depth 2. coordinates : the draw of w*, s and the start.
    """

    coordinates: Coordinates
    errors: np.ndarray
    fields: np.ndarray
    labels: np.ndarray
    slopes: np.ndarray
    weights: np.ndarray
    factors: np.ndarray | None


def _run(
    problem: Problem,
    settings: SimulationSettings,
    sequence: np.random.SeedSequence,
    time: np.ndarray,
    index: int,
    progress: Callable[[Progress], None] | None,
) -> _Run:
    data = draw_data(problem, settings, sequence)
    drawn = data.coordinates
    if problem.dynamics.discrete:
        return _discrete_run(problem, settings, data, sequence, time, index, progress)
    start = start_of(problem.network, problem.dynamics.weight_decay, drawn.a0, drawn.b0)

    weights = integrate(
        data.features,
        data.labels,
        start,
        time,
        teacher=drawn.teacher,
        variance=drawn.variance,
        rtol=settings.rtol,
        loss=problem.loss,
        progress=_reporter(progress, settings.seeds, index, float(time[-1])),
    ).weights
    factors = _factors(problem, weights, drawn.a0 * drawn.b0, time)
    return _recorded(problem, data, weights, factors)


def _reporter(
    progress: Callable[[Progress], None] | None, runs: int, index: int, t_max: float
) -> Callable[[float, float], None] | None:
    """What a run is followed by: told the fraction of it that is done and the time reached."""
    if progress is None:
        return None
    began = monotonic()  # all runs cost the same

    def report(fraction: float, reached: float) -> None:
        elapsed = monotonic() - began
        left = elapsed / fraction * (runs - index - fraction) if fraction > 0 else None
        stage, done = f"simulation {index + 1}/{runs}", (index + fraction) / runs
        progress(Progress(done, left, stage, index, runs, min(reached, t_max), t_max))

    return report


def _discrete_run(
    problem: Problem,
    settings: SimulationSettings,
    data: DataSet,
    sequence: np.random.SeedSequence,
    time: np.ndarray,
    index: int,
    progress: Callable[[Progress], None] | None,
) -> _Run:
    rng = np.random.default_rng(sequence.spawn(1)[0])  # after the streams of the data
    report = _reporter(progress, settings.seeds, index, float(time[-1]))
    steps = descend(problem, data, time, rng, progress=report)
    depth_two = problem.network.code == DEPTH_TWO
    factors = np.concatenate([steps.a, steps.b], axis=1) if depth_two else None
    return _recorded(problem, data, steps.weights, factors)


def _recorded(
    problem: Problem, data: DataSet, weights: np.ndarray, factors: np.ndarray | None
) -> _Run:
    drawn, fields = data.coordinates, weights @ data.features.T
    return _Run(
        coordinates=drawn,
        errors=np.sqrt(drawn.variance) * (weights - drawn.teacher),
        fields=fields,
        labels=data.labels,
        slopes=loss_slopes(problem.loss, fields, data.labels),
        weights=weights,
        factors=factors,
    )


def _factors(
    problem: Problem, weights: np.ndarray, product: np.ndarray, time: np.ndarray
) -> np.ndarray | None:
    """|a| and |b| of a network of depth 2, side by side: (time, 2 d).

    a^2 - b^2 = 2w, and the product ab = (u^2 - v^2)/2 only decays. Of the two squares
    sqrt(w^2 + (ab)^2) +- w, the smaller is had from the larger without cancellation. Neither a nor
    b changes sign, so that absolute values have the same overlaps.
    """
    if problem.network.code != DEPTH_TWO:
        return None
    product = product * np.exp(-2.0 * problem.dynamics.weight_decay * time)[:, None]
    larger = np.hypot(weights, product) + np.abs(weights)
    smaller = np.divide(product**2, larger, out=np.zeros_like(larger), where=larger > 0.0)
    positive = weights > 0.0
    a, b = np.where(positive, larger, smaller), np.where(positive, smaller, larger)
    return np.sqrt(np.concatenate([a, b], axis=1))


def _check_dynamics(problem: Problem) -> None:
    if not problem.dynamics.discrete:
        require_slopes(problem.loss)
    if isinstance(problem.dynamics, StochasticGradientFlow):
        raise InputError(
            f"given '{problem.dynamics.kind}', a limit that no finite network has, simulate 'sgd' "
            "with the same step_size and batch_fraction: step k is at time k step_size",
            "dynamics.kind",
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


class _Mean:
    """Running mean and standard error (Welford), so that no array per run is kept."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        self.count += 1
        before = values - self.mean
        self.mean += before / self.count
        self.squares += before * (values - self.mean)

    def standard_error(self) -> np.ndarray | None:
        if self.count < 2:
            return None
        return np.sqrt(self.squares / ((self.count - 1) * self.count))
