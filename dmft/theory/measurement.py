"""Reading rates and times off curves, solved or simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.errors import InputError
from dmft.results.interpolation import curve_at
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

_POINTS = 60


@dataclass(frozen=True)
class MeasuredRate:
    """An exponential rate read off a curve.

    Attributes
    ----------
    rate : of curve - limit = t^(-power) e^(-rate t), up to a constant.
    stderr : standard error over replicates and, in quadrature, the difference to the rate in the
        later half of the window, which shows what the law leaves out.
    window : first and last time used.
    """

    rate: float
    stderr: float
    window: tuple[float, float]


def measured_rate(
    result: Solution | Simulation,
    *,
    name: str = "train_mse",
    limit: float = 0.0,
    power: float = 1.5,
    levels: tuple[float, float] = (1e-3, 1e-10),
) -> MeasuredRate:
    """Fit the law t^(-power) e^(-rate t) to the end of a curve.

    Units: rates in inverse time of the flow.

    Parameters
    ----------
    result : a solution or simulation; each replicate or run is fitted for itself.
    name : "train_mse" or "excess_risk".
    limit : what the curve goes to.
    power : of the power law in front; 3/2 for a spectrum with a square-root edge.
    levels : the window is where the mean of |curve - limit| lies between these fractions of its
        start.

    Raises
    ------
    InputError : a curve that does not fall below the first level, or crosses its limit.
    """
    runs = np.abs(_runs(result, name) - limit)
    mean = runs.mean(axis=0)
    first = crossing_time(result.time, mean, levels[0] * mean[0])
    if first is None:
        raise InputError(
            f"given a {name} that only falls to {mean.min() / mean[0]:.2g} of its start, must fall "
            f"below {levels[0]:g}",
            "result",
        )
    last = crossing_time(result.time, mean, levels[1] * mean[0]) or float(result.time[-1])
    time = np.linspace(first, last, _POINTS)
    values = np.abs(_at(result, _runs(result, name), time) - limit)
    logs = np.log(np.maximum(values, 1e-300)) + power * np.log(time)
    half = _POINTS // 2
    rates = [-np.polynomial.polynomial.polyfit(time, row, 1)[1] for row in logs]
    later = [-np.polynomial.polynomial.polyfit(time[half:], row[half:], 1)[1] for row in logs]
    spread = np.std(rates, ddof=1) / len(rates) ** 0.5 if len(rates) > 1 else 0.0
    drift = float(np.mean(later) - np.mean(rates))
    return MeasuredRate(float(np.mean(rates)), float(np.hypot(spread, drift)), (first, last))


def crossing_time(time: np.ndarray, curve: np.ndarray, level: float) -> float | None:
    """When a positive curve first falls to `level`, between nodes by its logarithm, or None."""
    below = np.flatnonzero(curve <= level)
    if len(below) == 0:
        return None
    after = int(below[0])
    if after == 0:
        return float(time[0])
    before = after - 1
    if curve[after] <= 0.0 or level <= 0.0:
        return float(time[after])
    share = np.log(curve[before] / level) / np.log(curve[before] / curve[after])
    return float(time[before] + share * (time[after] - time[before]))


@dataclass(frozen=True)
class Phases:
    """When a run has learnt its training data, and when it generalises.

    Attributes
    ----------
    learning_time : train_mse falls to a tenth of its start.
    plateau : excess_risk when train_mse is a thousandth of its start: what memorising achieves.
    risk_time : excess_risk falls half-way from the plateau to its end.
    """

    learning_time: float
    plateau: float
    risk_time: float

    @property
    def delay(self) -> float:
        """How long generalisation comes after learning."""
        return self.risk_time - self.learning_time


def detect_phases(result: Solution | Simulation) -> Phases:
    """Find the phases of a curve.

    Parameters
    ----------
    result : a solution or a simulation; times in units of the flow.

    Raises
    ------
    InputError : a training error that does not fall to a thousandth.
    """
    start = result.train_mse[0]
    tenth = crossing_time(result.time, result.train_mse, 0.1 * start)
    done = crossing_time(result.time, result.train_mse, 1e-3 * start)
    if tenth is None or done is None:
        raise InputError("given a train_mse that does not fall to 1e-3 of its start", "result")
    plateau = float(np.interp(done, result.time, result.excess_risk))
    later = result.time >= done
    level = 0.5 * (plateau + result.excess_risk[-1])
    half = crossing_time(result.time[later], result.excess_risk[later], level)
    return Phases(tenth, plateau, done if half is None else half)


def spread_of_rescaled(
    times: list[np.ndarray], curves: list[np.ndarray], scales: list[float], points: np.ndarray
) -> np.ndarray:
    """How far curves differ in rescaled time: (max - min) / mean at each point.

    Parameters
    ----------
    times, curves : one array each per run.
    scales : unit of time of each run.
    points : rescaled times, inside every run.
    """
    rows = [
        np.interp(points * scale, time, curve)
        for time, curve, scale in zip(times, curves, scales, strict=True)
    ]
    return np.ptp(rows, axis=0) / np.mean(rows, axis=0)


def _runs(result: Solution | Simulation, name: str) -> np.ndarray:
    """The curve of every replicate or run, shape (run, time)."""
    if name not in ("train_mse", "excess_risk"):
        raise InputError(f"given '{name}', allowed: train_mse, excess_risk", "name")
    prefix = "replicate" if isinstance(result, Solution) else "seed"
    runs: np.ndarray = getattr(result, f"{prefix}_{name}")
    return runs


def _at(result: Solution | Simulation, runs: np.ndarray, time: np.ndarray) -> np.ndarray:
    if isinstance(result, Solution):
        return curve_at(result.time, result.panel, runs, time, positive=True)
    logs = np.log(np.maximum(runs, 1e-300))
    return np.exp([np.interp(time, result.time, row) for row in logs])
