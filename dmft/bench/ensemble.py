"""Contestant (c), ensembles of finite networks: the mean over N runs of dimension d.

The error of such a mean is known from a pool of runs of every dimension: its square is
bias(d)^2 + variance(d)/N. The bias, c d^-a with a = 1 unless the pools say less, is fitted to all
of them; of several curves the worst counts. Every dimension has its N for a target; the cheapest
counts. Runs are independent, so N runs cost N times one.

Teachers are stratified, noise has its exact variance. Every run takes the faster of two
integrators: the L-stable Rosenbrock method of `dmft.simulate`, or where the flow is not stiff
an explicit Runge-Kutta pair of SciPy; both at tolerances that add less than 0.2 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from dmft.bench.cases import Case
from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import CURVE, Outcome, Rung
from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO
from dmft.results.sign_error import sign_error

INTEGRATORS = {"implicit": 1e-2, "explicit": 3e-4}  # and their tolerances
_TRIALS = 1
_POWERS = np.concatenate([[1.0], np.linspace(0.95, 0.3, 14)])  # of 1/d in the bias
_CLEAR_GAIN = 4.0  # of the sum of squares of a fit
TIMINGS = 3


@dataclass(frozen=True)
class Pool:
    """Runs of one dimension.

    mean, variance : the curves of one run relative to the reference, (curve, time).
    seconds : CPU seconds of one run.
    """

    dimension: int
    count: int
    mean: np.ndarray
    variance: np.ndarray
    seconds: float

    @property
    def spread(self) -> np.ndarray:
        """Mean square over times of the relative standard deviation of one run, (curve,)."""
        return np.asarray(np.mean(self.variance, axis=-1))


@dataclass(frozen=True)
class Bias:
    """The relative bias c d^-a of each curve, root mean square over times; both (curve,)."""

    size: np.ndarray
    power: np.ndarray

    def __call__(self, dimension: int) -> np.ndarray:
        return np.asarray(self.size * float(dimension) ** -self.power)

    def __str__(self) -> str:
        return " and ".join(
            f"{size:.3g}/d" + ("" if power == 1.0 else f"^{power:.2g}")
            for size, power in zip(self.size, self.power, strict=True)
        )


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
    pool_seconds : CPU seconds for the pool of each dimension.
    budget : CPU seconds of an ensemble up to which it is run three times, not extrapolated.
    """
    kind = _faster(case, ledger)
    pools = [_pool(case, d, kind, reference, ledger, pool_seconds) for d in case.dimensions]
    bias = fitted_bias(pools)
    outcome = Outcome(
        law=f"{kind} integrator; error^2 = bias(d)^2 + variance(d)/N, bias "
        f"{bias}, N runs cost N times one"
    )
    for pool in pools:
        for count in np.unique(np.geomspace(1, pool.count, 4).astype(int)):
            error = float(np.hypot(bias(pool.dimension), np.sqrt(pool.spread / count)).max())
            label = f"{count} runs, d = {pool.dimension}"
            outcome.rungs.append(Rung(label, count * pool.seconds, error, float("nan")))
    outcome.curve = [(cheapest(pools, bias, error)[0], error) for error in CURVE]
    for target in targets:
        seconds, count, dimension = cheapest(pools, bias, target)
        label = f"{count} runs, d = {dimension}"
        measured = seconds <= budget and dimension <= pools[-1].dimension
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


def fitted_bias(pools: list[Pool]) -> Bias:
    """The law of the bias, noise of the pools taken off.

    At each time c d^-a, with one a for all times of a curve.
    """
    dimension = np.array([pool.dimension for pool in pools])[:, None, None]
    error = np.array([pool.mean - 1.0 for pool in pools])
    precision = np.array([pool.count / np.maximum(pool.variance, 1e-12) for pool in pools])
    sizes, misfits = [], []
    for power in _POWERS:
        law = dimension**-power
        weight = np.sum(precision * law**2, axis=0)
        size = np.sum(precision * law * error, axis=0) / weight
        sizes.append(np.sqrt(np.maximum(np.mean(size**2 - 1.0 / weight, axis=-1), 0.0)))
        misfits.append(np.sum(precision * (error - size * law) ** 2, axis=(0, 2)))
    misfit = np.array(misfits)
    best = misfit.argmin(axis=0)
    curve = np.arange(misfit.shape[1])
    # Times are correlated: only a clear gain over 1/d, listed first, counts.
    best[misfit[0] - misfit[best, curve] < _CLEAR_GAIN] = 0
    return Bias(np.array(sizes)[best, curve], _POWERS[best])


def cheapest(pools: list[Pool], bias: Bias, target: float) -> tuple[float, int, int]:
    """CPU seconds, runs N and dimension d of the cheapest ensemble with an error of `target`.

    Beyond the largest pool variance falls like 1/d and seconds grow like d^2, the least that a
    product with the features can take.
    """
    last = pools[-1]
    options = [(pool.dimension, pool.spread, pool.seconds) for pool in pools]
    for factor in 2 ** np.arange(1, 25):
        beyond = last.dimension * int(factor)
        options.append((beyond, last.spread / factor, last.seconds * float(factor) ** 2))
    found = []
    for dimension, spread, seconds in options:
        room = target**2 - bias(dimension) ** 2
        if np.all(room > 0.0):
            count = max(1, int(np.ceil(np.max(spread / room))))
            found.append((count * seconds, count, dimension))
    return min(found)


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
        f"{case.label}/ensemble/{kind}, d = {dimension}/pool of {seconds:g} s",
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
    count: int = 10_000,
    seconds: float = np.inf,
) -> Record:
    """`count` independent runs, or as many as take the given seconds, at least eight."""
    found: list[np.ndarray] = []
    spent = 0.0
    for sequence in np.random.SeedSequence([seed, dimension]).spawn(count):
        if spent >= seconds and len(found) >= 8:
            break
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
    from dmft.settings import SimulationSettings
    from dmft.simulation.coordinates import start_of
    from dmft.simulation.data import draw_data
    from dmft.simulation.flow import integrate

    tolerance = INTEGRATORS[kind]
    data = draw_data(problem, SimulationSettings(dimension=dimension), sequence)
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
