"""Contestant (c), ensembles of finite networks: the mean over N runs of dimension d.

The square of the error of such a mean is bias(d)^2 + variance(d)/N; the laws of both are fitted to
pools of runs (`finite_size`), and of several curves the worst counts. Every dimension has its N for
a target; the cheapest counts. Runs are independent, so N runs cost N times one.

Teachers are stratified (`sampling`), noise has its exact variance. Every run takes the faster of
two integrators: the L-stable Rosenbrock method of `dmft.simulate`, or where the flow is not stiff
an explicit Runge-Kutta pair of SciPy; both at tolerances that add less than 0.2 %.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from dmft.bench.cases import Case
from dmft.bench.clock import cpu_seconds
from dmft.bench.finite_size import Pool, fitted
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import CURVE, Outcome, Rung
from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO
from dmft.results.sign_error import sign_error

INTEGRATORS = {"implicit": 1e-2, "explicit": 3e-4}  # and their tolerances
_TRIALS = 1
TIMINGS = 3


def race(
    case: Case,
    reference: np.ndarray,
    ledger: Ledger,
    targets: tuple[float, ...],
    pool_seconds: float,
    budget: float,
) -> Outcome:
    """Cheapest ensemble for each target.

    Parameters
    ----------
    pool_seconds : CPU seconds for the pool of the largest dimension. Others have more of them
        like 1/d: small networks tell more of the law per second.
    budget : CPU seconds of an ensemble up to which it is run three times, not extrapolated.
    """
    kind, largest = _faster(case, ledger), case.dimensions[-1]
    pools = [
        _pool(case, d, kind, reference, ledger, pool_seconds * largest / d) for d in case.dimensions
    ]
    law = fitted(pools)
    outcome = Outcome(
        law=f"{kind} integrator; error^2 = bias(d)^2 + variance(d)/N, bias "
        f"{law.bias}, variance {law.variance}, N runs cost N times one"
    )
    for pool in pools:
        for count in np.unique(np.geomspace(1, pool.count, 4).astype(int)):
            error = law.error(int(count), pool.dimension)
            label = f"{count} runs, d = {pool.dimension}"
            outcome.rungs.append(Rung(label, count * pool.seconds, error, float("nan")))
    outcome.curve = [(law.cheapest(error)[0], error) for error in CURVE]
    for target in targets:
        seconds, count, dimension = law.cheapest(target)
        label = f"{count} runs, d = {dimension}"
        measured = seconds <= budget and dimension <= largest
        if measured:
            times = [
                ledger.measure(
                    f"{case.label}/ensemble/{kind}, {label}/timing {i}",
                    partial(_runs, case, dimension, kind, 7919 + i, count=count),
                )["seconds"]
                for i in range(TIMINGS)
            ]
            seconds = median(times)
        outcome.reached[target] = Rung(label, seconds, target, float("nan"), measured)
    return outcome


def _faster(case: Case, ledger: Ledger) -> str:
    """The integrator that takes less time at the largest dimension, which costs most.

    One for all, so that its errors are alike in all pools that the bias is fitted to.
    """
    if case.problem.network.code != DEPTH_TWO or case.t_max > 1e3:
        return "implicit"  # an explicit method's cost is proportional to time
    dimension = case.dimensions[-1]
    seconds = {
        kind: ledger.measure(
            f"{case.label}/ensemble/{kind}, d = {dimension}/trial",
            partial(_runs, case, dimension, kind, 1, count=_TRIALS),
        )["seconds"]
        for kind in INTEGRATORS
    }
    return min(seconds, key=lambda kind: seconds[kind])


def _pool(
    case: Case, dimension: int, kind: str, reference: np.ndarray, ledger: Ledger, seconds: float
) -> Pool:
    record = ledger.measure(
        f"{case.label}/ensemble/{kind}, d = {dimension}/runs of {seconds:g} s",
        lambda: _runs(case, dimension, kind, 2, seconds=seconds),
    )
    count = record["count"]
    return Pool(
        dimension,
        count,
        case.chosen(record["mean"]) / reference,
        case.chosen(record["variance"]) / reference**2,
        record["seconds"] / count,
    )


def _runs(
    case: Case,
    dimension: int,
    kind: str,
    seed: int,
    *,
    count: int = 1_000_000,
    seconds: float = np.inf,
) -> Record:
    """`count` independent runs, or as many as take the given seconds, at least eight."""
    found: list[np.ndarray] = []
    spent = 0.0
    seeds = np.random.SeedSequence([seed, dimension])
    while len(found) < count and (spent < seconds or len(found) < 8):
        (sequence,) = seeds.spawn(1)
        one = partial(run, case.problem, dimension, case.times, kind, sequence, case.curves)
        values, took = cpu_seconds(one)
        found.append(values)
        spent += took
    curves = np.array(found)
    return {
        "count": len(curves),
        "mean": curves.mean(axis=0),
        "variance": curves.var(axis=0, ddof=1) if len(curves) > 1 else [],
        "seconds": spent,
    }


def run(
    problem: Problem,
    dimension: int,
    times: np.ndarray,
    kind: str,
    sequence: np.random.SeedSequence,
    curves: tuple[str, ...] = ("excess_risk",),
) -> np.ndarray:
    """Curves of one finite network at the given times, (curve, time).

    They are train_loss, test_error, squared_norm and excess_risk.
    """
    from dmft.bench.sampling import draw
    from dmft.simulation.coordinates import start_of
    from dmft.simulation.flow import integrate

    tolerance = INTEGRATORS[kind]
    data = draw(problem, dimension, sequence)
    drawn, decay = data.coordinates, problem.dynamics.weight_decay
    start = start_of(problem.network, decay, drawn.a0, drawn.b0)
    if kind == "implicit":
        weights = integrate(
            data.features, data.labels, start, times, teacher=drawn.teacher,
            variance=drawn.variance, rtol=tolerance, loss=problem.loss,
        ).weights  # fmt: skip
    else:
        slopes = partial(problem.loss.slopes, labels=data.labels)
        weights = _explicit(data.features, slopes, start.weights, times, tolerance)
    scaled = np.sqrt(drawn.variance) * np.stack([*weights, drawn.teacher])
    overlap, norm = np.mean(scaled[:-1] * scaled[-1], axis=1), np.mean(scaled[:-1] ** 2, axis=1)
    strength = float(np.mean(scaled[-1] ** 2))
    found = {"squared_norm": norm, "excess_risk": norm - 2.0 * overlap + strength}
    if "train_loss" in curves:
        fields = weights @ data.features.T
        found["train_loss"] = problem.loss.values(fields, data.labels).mean(axis=1)
    if "test_error" in curves:
        found["test_error"] = sign_error(problem, overlap, norm, strength)
    return np.array([found[name] for name in curves])


def _explicit(
    features: np.ndarray,
    slopes: Callable[[np.ndarray], np.ndarray],
    weights_of: Callable[[np.ndarray, float], np.ndarray],
    times: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """G = X^T z with z' = l'(X w(G)), by the Bogacki-Shampine pair: stability limits its steps."""
    from scipy.integrate import solve_ivp

    def rate(time: float, dual: np.ndarray) -> np.ndarray:
        return slopes(features @ weights_of(dual @ features, time))

    found = solve_ivp(
        rate,
        (0.0, times[-1]), np.zeros(len(features)), method="RK23", t_eval=times,
        rtol=tolerance, atol=0.01 * tolerance,
    )  # fmt: skip
    return np.array(
        [weights_of(dual @ features, time) for time, dual in zip(times, found.y.T, strict=True)]
    )
