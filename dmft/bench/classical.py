"""Contestant (b), the classical algorithm: its error and cost as laws of step and paths.

Its relative RMS error has two parts: a bias of the explicit Euler steps, of first order, and the
noise of plain Monte Carlo,

    error^2 = (bias step)^2 + noise^2 / n_paths,
    seconds = rate^(-1) sweeps n_paths T^3 / 6,      T = t_max / step.

Both constants are measured, of several curves those of the one that takes longest: the bias on a
short horizon with many paths, where learning begins and curves are steepest, at two steps; the
noise on a longer one at several n_paths; the rate with a fine grid. Beyond its horizon the
algorithm is taken to be as accurate, and to need as many sweeps, as before, and to have the memory
for its kernels: all to its favour. For a given error the work is least where 3/5 of the squared
error are bias, if the flow is stable with that step.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from dmft.bench.cases import Case
from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import CURVE, Outcome, PowerLaw, Rung
from dmft.errors import DmftError
from dmft.results.sign_error import sign_error
from dmft.theory.linear import second_moment

if TYPE_CHECKING:
    from dmft.solver.classical import ClassicalSolution

TIMINGS = 3
_TOLERANCE = 3e-3  # of the iteration: far below what is asked for
_BIAS_PATHS, _BIAS_SEEDS = 4096, 4
_NOISE_PATHS, _NOISE_SEEDS = (128, 256, 512), 8
_RATE_PATHS, _RATE_REFINEMENT = 256, 2
_BIAS_SHARE = 0.6


@dataclass(frozen=True)
class Law:
    """Constants of the laws above; `longest` is the longest stable step."""

    bias: float
    noise: float
    sweeps: float
    rate: float
    longest: float
    t_max: float

    def configuration(self, target: float) -> tuple[float, int]:
        """Step (a whole number of which is t_max) and n_paths of the least work with this error."""
        step = self.longest
        if self.bias > 0.0:
            step = min(step, target * _BIAS_SHARE**0.5 / self.bias)
        step = self.t_max / np.ceil(self.t_max / step * (1.0 - 1e-9))
        room = target**2 - (self.bias * step) ** 2
        return float(step), int(np.ceil(self.noise**2 / room))

    def seconds(self, step: float, n_paths: int) -> float:
        """CPU seconds of a solve."""
        return self.sweeps * n_paths * (self.t_max / step) ** 3 / 6.0 / self.rate


def race(
    case: Case, reference: np.ndarray, ledger: Ledger, targets: tuple[float, ...], budget: float
) -> Outcome:
    """Seconds to each target: measured where at most `budget`, otherwise by the law."""
    outcome = Outcome()
    law, spread = max(
        _laws(case, reference, ledger, outcome),
        key=lambda found: found[0].seconds(*found[0].configuration(min(targets))),
    )
    outcome.law = (
        f"error^2 = ({law.bias:.3g} step)^2 + {law.noise**2:.3g}/n_paths (fitted power of n_paths "
        f"{spread}); {law.sweeps:.0f} sweeps of n_paths T^3/6 at {law.rate / 1e9:.1f}e9 per second"
    )
    outcome.curve = [(law.seconds(*law.configuration(error)), error) for error in CURVE]
    for target in targets:
        step, n_paths = law.configuration(target)
        seconds = law.seconds(step, n_paths)
        label = f"step {step:.3g}, {n_paths} paths"
        memory = 8.0 * (case.t_max / step) ** 2
        if memory > 2**30:
            label += f", {_size(memory)} per kernel"
        measured = seconds <= budget and case.horizon >= case.t_max
        if measured:
            records = [
                _solve(case, step, n_paths, case.t_max, 500 + i, ledger) for i in range(TIMINGS)
            ]
            seconds = median(record["seconds"] for record in records)
        outcome.reached[target] = Rung(label, seconds, target, float("nan"), measured)
    return outcome


def _laws(
    case: Case, reference: np.ndarray, ledger: Ledger, outcome: Outcome
) -> list[tuple[Law, PowerLaw]]:
    """Measure the constants of every curve; rungs of the noise measurement go into the outcome."""
    slopes, weights = [], []
    for part in (1, 2):
        step = case.step / part
        errors = _errors(case, step, _BIAS_PATHS, case.bias_horizon, _BIAS_SEEDS, reference, ledger)
        variance = errors.var(axis=0, ddof=1) / len(errors)
        # Times after the horizon count as if they had no bias.
        square = np.sum(errors.mean(axis=0) ** 2 - variance, axis=1) / reference.shape[1]
        slopes.append(np.sqrt(np.maximum(square, 0.0)) / step)
        weights.append(step**2)
    biases = np.average(slopes, axis=0, weights=weights)
    deviations, sweeps = [], []
    for n_paths in _NOISE_PATHS:
        errors = _errors(case, case.step, n_paths, case.horizon, _NOISE_SEEDS, reference, ledger)
        deviations.append(np.sqrt(np.mean(errors.var(axis=0, ddof=1), axis=1)))
        records = [
            _solve(case, case.step, n_paths, case.horizon, seed, ledger)
            for seed in range(_NOISE_SEEDS)
        ]
        sweeps.append(median(record["sweeps"] for record in records))
        if case.horizon >= case.t_max:
            seconds = median(record["seconds"] for record in records)
            total = float(np.sqrt(np.mean(errors**2, axis=(0, 2)).max()))
            label = f"step {case.step:g}, {n_paths} paths"
            outcome.rungs.append(Rung(label, seconds, total, total / (2 * _NOISE_SEEDS) ** 0.5))
    step = case.step / _RATE_REFINEMENT
    fine = _solve(case, step, _RATE_PATHS, case.horizon, 0, ledger)
    steps = case.horizon / step
    rate = fine["sweeps"] * _RATE_PATHS * steps**3 / 6.0 / fine["seconds"]
    found = []
    for bias, spread in zip(biases, np.array(deviations).T, strict=True):
        noise = float(np.exp(np.mean(np.log(spread * np.sqrt(_NOISE_PATHS)))))
        law = Law(float(bias), noise, float(max(sweeps)), rate, case.step, case.t_max)
        found.append((law, PowerLaw.through(_NOISE_PATHS, spread)))
    return found


def _errors(
    case: Case, step: float, n_paths: int, horizon: float, seeds: int, reference: np.ndarray,
    ledger: Ledger,
) -> np.ndarray:  # fmt: skip
    """Relative errors, shape (seed, curve, times up to the horizon)."""
    records = [_solve(case, step, n_paths, horizon, seed, ledger) for seed in range(seeds)]
    found = np.array([case.chosen(record["values"]) for record in records])
    return np.asarray(found / reference[:, : found.shape[2]] - 1.0)


def _solve(
    case: Case, step: float, n_paths: int, horizon: float, seed: int, ledger: Ledger
) -> Record:
    """One solve: seconds, sweeps, the curves at the case's times up to the horizon."""
    from dmft.solver.classical import classical_solve

    def work() -> Record:
        solution, seconds = cpu_seconds(
            lambda: classical_solve(
                case.problem, t_max=horizon, step=step, n_paths=n_paths, seed=seed,
                tolerance=_TOLERANCE,
            )
        )  # fmt: skip
        if not solution.converged:
            raise DmftError(f"{case.name}: the classical algorithm failed: {solution.reason}")
        times = case.times[case.times <= horizon * (1.0 + 1e-9)]
        curves = [_curve(solution, name) for name in case.curves]
        values = [np.exp(np.interp(times, solution.time, np.log(curve))) for curve in curves]
        return {"seconds": seconds, "sweeps": solution.iterations, "values": values}

    label = f"step {step:g}, {n_paths} paths, to {horizon:g}"
    return ledger.measure(f"{case.label}/classical/{label}/seed {seed}", work)


def _curve(solution: ClassicalSolution, name: str) -> np.ndarray:
    """A curve of the solution, positive: logarithms are taken."""
    if name == "test_error":
        strength = second_moment(solution.problem.teacher)
        return sign_error(solution.problem, solution.overlap, solution.squared_norm, strength)
    return np.maximum(getattr(solution, name), 1e-300)


def _size(count: float) -> str:
    """Bytes in words."""
    for unit in ("GB", "TB", "PB"):
        count /= 1000.0 if unit != "GB" else 1e9
        if count < 1000.0:
            return f"{count:.3g} {unit}"
    return f"{count:.3g} EB"
