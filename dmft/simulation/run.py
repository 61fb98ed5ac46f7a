"""One run of an ensemble: from its number to its curves and kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.population import Coordinates
from dmft.progress import Progress
from dmft.results.observables import (
    CHARGES,
    OBSERVABLES,
    Samples,
    UserObservable,
    Weights,
    derived_curves,
    sample_curves,
    weight_curves,
)
from dmft.settings import SimulationSettings
from dmft.simulation.coordinates import start_of
from dmft.simulation.data import DataSet, draw_data
from dmft.simulation.descent import descend
from dmft.simulation.ensemble_sums import RunSums
from dmft.simulation.flow import integrate


def make_run(
    problem: Problem,
    settings: SimulationSettings,
    time: np.ndarray,
    observables: Mapping[str, UserObservable] | None,
    index: int,
    progress: Callable[[Progress], None] | None = None,
) -> RunSums:
    """Make one run, which depends on its number and on nothing that ran before it."""
    sequence = np.random.SeedSequence(settings.seed, spawn_key=(index,))
    # The order of BLAS sums, and so the last digits, would depend on the number of threads;
    # and on a busy machine its spinning threads take a hundred times longer than one.
    with threadpool_limits(1, user_api="blas"):
        run = _run(problem, settings, sequence, time, index, progress)
        rows = (run.errors, run.slopes, run.weights)
        kernels = tuple(each @ each.T / each.shape[1] for each in rows)
        parameters = None
        if run.factors is not None:
            parameters = run.factors @ run.factors.T / run.weights.shape[1]
    curves = _curves(problem, run, settings.active_threshold, observables)
    return RunSums(curves, kernels, parameters)


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
    losses = problem.loss.values(run.fields, run.labels)
    n = len(run.labels)
    samples = Samples(problem, run.fields.T, run.labels, losses.T, np.full(n, 1.0 / n))
    known |= {
        "train_mse": np.mean((run.fields - run.labels) ** 2, axis=1),
        "excess_risk": np.mean(run.errors**2, axis=1),
        "train_loss": np.mean(losses, axis=1),
    }
    return derived_curves({**weight_curves(weights, user), **sample_curves(samples), **known})


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
        slopes=problem.loss.slopes(fields, data.labels),
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
