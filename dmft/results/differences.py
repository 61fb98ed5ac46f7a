"""One quantity of a solution and a simulation: how different, and how probable that is.

A simulation differs from the mean field by sampling, of order d^(-1/2) per run and known from the
spread over runs, and by a bias of order 1/d that more runs do not remove. Both are judged: `z` is
the difference in standard errors, and a small relative difference, `tolerance`, is granted to the
two integrators and to the bias before a difference counts as one.

The verdict is a test. At one time, the probability of a difference as large as found, beyond the
tolerance, is that of Student's t with the degrees of freedom of Welch, since standard errors from
a few runs are themselves uncertain: with 8 runs |z| > 4 happens 80 times as often as for normal
variables. Times of one curve are strongly correlated, so that 40 of them are no 40 tests. That
such a difference occurs anywhere on the curve has at most the probability of one at its start
plus the expected number of later excursions (Rice's formula; for t-processes Worsley, Adv. Appl.
Prob. 26, 13, 1994),
    P(|T_nu| > z) + (length / pi) (1 + z^2 / nu)^(-(nu - 1)/2),
where `length` is that of the curve's fluctuations over the runs as a path on the unit sphere. At
few or independent times the number of times, times P(|T_nu| > z), is a better bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import t as student

from dmft.results.interpolation import curve_at, curve_error_at, kernel_at, kernel_error_at
from dmft.results.observables import is_counted, is_positive
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

_VANISHED = 1e-10  # of its start, below which a quantity is compared absolutely only
_FEW_ERRORS = 5.0  # within which a value beside one that has vanished is no difference


@dataclass(frozen=True)
class Difference:
    """One quantity on both sides; all arrays have the shape of `mean_field`.

    Attributes
    ----------
    name : the attribute of `Solution` and `Simulation`, or of their kernels.
    time : (time,), in units of the flow; a kernel is (time, time).
    mean_field, simulation : the values.
    mean_field_stderr, simulation_stderr : standard errors, None if that side has none.
    scale : what differences are relative to: the value, for kernels sqrt(K(t, t) K(s, s)).
    vanished : where a side is below 1e-10 of its start: differences count only if they are not.
    freedom : Welch's degrees of freedom of `z`.
    length : of the path of the fluctuations of a curve, see the module's text; None for kernels.
    tolerance : relative difference that is granted.
    """

    name: str
    time: np.ndarray
    mean_field: np.ndarray
    simulation: np.ndarray
    mean_field_stderr: np.ndarray | None
    simulation_stderr: np.ndarray | None
    scale: np.ndarray
    vanished: np.ndarray
    freedom: np.ndarray
    length: float | None
    tolerance: float

    @property
    def difference(self) -> np.ndarray:
        """Simulation minus mean field."""
        return self.simulation - self.mean_field

    @property
    def relative(self) -> np.ndarray:
        """`difference` over `scale`, NaN where the quantity has vanished."""
        return np.divide(
            self.difference, self.scale, out=np.full(self.scale.shape, np.nan), where=~self.vanished
        )

    @property
    def stderr(self) -> np.ndarray:
        """Root of the summed squared standard errors; a side without any is left out."""
        sides = [e for e in (self.mean_field_stderr, self.simulation_stderr) if e is not None]
        return np.sqrt(sum((side**2 for side in sides), np.zeros(self.scale.shape)))

    @property
    def z(self) -> np.ndarray:
        """Difference in standard errors, NaN where vanished or where there is no error."""
        found = np.full(self.scale.shape, np.nan)
        known = ~self.vanished & (self.stderr > _VANISHED * self.scale)
        return np.divide(self.difference, self.stderr, out=found, where=known)

    @cached_property
    def probability(self) -> float:
        """Of a largest difference like this by chance, were both right up to the tolerance."""
        excess = np.maximum(np.abs(self.difference) - self.tolerance * self.scale, 0.0)
        uncertain = ~self.vanished & (self.stderr > _VANISHED * self.scale)
        ratio = np.divide(excess, self.stderr, out=np.zeros_like(excess), where=uncertain)
        single = 2.0 * student.sf(ratio, self.freedom)
        distinct = np.triu(uncertain) if uncertain.ndim == 2 else uncertain
        anywhere = np.count_nonzero(distinct) * single
        if self.length is not None:
            power = (1.0 - self.freedom) / 2.0
            excursions = self.length / np.pi * (1.0 + ratio**2 / self.freedom) ** power
            anywhere = np.minimum(anywhere, single + excursions)
        alike = np.abs(self.difference) <= 10.0 * _VANISHED * self.scale.max(initial=0.0)
        alike |= np.abs(self.difference) <= _FEW_ERRORS * self.stderr
        certain = np.where(self.vanished, alike, excess == 0.0)
        return float(min(1.0, np.where(uncertain, anywhere, certain).min(initial=1.0)))

    def to_dict(self) -> dict[str, Any]:
        """Nested lists and numbers; what is undefined is None."""
        table = {
            "time": self.time,
            "mean_field": self.mean_field,
            "mean_field_stderr": self.mean_field_stderr,
            "simulation": self.simulation,
            "simulation_stderr": self.simulation_stderr,
            "difference": self.difference,
            "relative_difference": self.relative,
            "z": self.z,
            "vanished": self.vanished,
            "largest_z": largest(self.z),
            "largest_relative_difference": largest(self.relative),
            "probability": self.probability,
        }
        return {key: plain(value) for key, value in table.items()}


def curve_difference(
    solution: Solution, simulation: Simulation, name: str, common: np.ndarray, tolerance: float
) -> Difference:
    """A curve at the common times, indices of those of the simulation.

    A share that either side counts is compared where one side finds at least one in n_paths.
    """
    if is_counted(name):
        there = curve_at(
            solution.time, solution.panel, getattr(solution, name), simulation.time[common]
        )
        largest_share = np.maximum(there, getattr(simulation, name)[common])
        common = common[largest_share >= 1.0 / solution.settings.n_paths]
    time, panel, at = solution.time, solution.panel, simulation.time[common]
    mean_field = curve_at(time, panel, getattr(solution, name), at, positive=is_positive(name))
    values = getattr(simulation, name)[common]
    ours, theirs = getattr(solution, f"{name}_stderr"), getattr(simulation, f"{name}_stderr")
    ours = None if ours is None else curve_error_at(time, ours, at)
    theirs = None if theirs is None else theirs[common]
    scale = np.maximum(np.abs(mean_field), np.abs(values))
    lower = np.minimum(np.abs(mean_field), np.abs(values))
    least = scale if is_counted(name) else lower
    vanished = least <= _VANISHED * scale.max(initial=0.0)
    runs = getattr(simulation, f"seed_{name}")[:, common[~vanished]]
    freedom = _freedom(ours, theirs, scale, (solution.runs, simulation.runs))
    return Difference(
        name, at, mean_field, values, ours, theirs, scale, vanished, freedom,
        _length(runs), tolerance,
    )  # fmt: skip


def kernel_difference(
    solution: Solution, simulation: Simulation, name: str, chosen: np.ndarray, tolerance: float
) -> Difference:
    """A kernel at pairs of the chosen times, indices of those of the simulation."""
    time, panel, at = solution.time, solution.panel, simulation.time[chosen]
    square = np.ix_(chosen, chosen)
    mean_field = kernel_at(time, panel, getattr(solution.kernels, name), at)
    values = getattr(simulation.kernels, name)[square]
    ours = getattr(solution.kernels, f"{name}_stderr")
    ours = None if ours is None else kernel_error_at(time, ours, at)
    theirs = getattr(simulation.kernels, f"{name}_stderr")
    theirs = None if theirs is None else theirs[square]
    size = np.sqrt(np.maximum(np.abs(np.diag(mean_field)), np.abs(np.diag(values))))
    scale = np.outer(size, size)
    # Relative to its start, which for the overlap is zero: to the largest entry then.
    start = max(abs(getattr(simulation.kernels, name)[0, 0]), scale.max(initial=0.0))
    least = np.minimum(np.abs(np.diag(mean_field)), np.abs(np.diag(values)))
    gone = least <= _VANISHED * start
    vanished = gone[:, None] | gone[None, :]
    freedom = _freedom(ours, theirs, scale, (solution.runs, simulation.runs))
    return Difference(
        name, at, mean_field, values, ours, theirs, scale, vanished, freedom, None, tolerance
    )


def _freedom(
    ours: np.ndarray | None,
    theirs: np.ndarray | None,
    scale: np.ndarray,
    counts: tuple[int, int],
) -> np.ndarray:
    """Welch-Satterthwaite degrees of freedom of the summed squared errors, at least 1.

    At each entry, but not more than what the errors say on average over the entries: an error that
    comes out small by chance must not pass for one that is known well.
    """
    total, spread = np.zeros(scale.shape), np.zeros(scale.shape)
    mean_total, mean_spread = 0.0, 0.0
    for error, count in zip((ours, theirs), counts, strict=True):
        if error is not None:
            square = np.divide(error**2, scale**2, out=np.zeros(scale.shape), where=scale > 0.0)
            total, spread = total + square, spread + square**2 / (count - 1)
            mean_total += square.mean()
            mean_spread += square.mean() ** 2 / (count - 1)
    if mean_spread <= 0.0:
        return np.ones(scale.shape)
    freedom = np.divide(total**2, spread, out=np.ones(scale.shape), where=spread > 0.0)
    return np.clip(freedom, 1.0, max(1.0, mean_total**2 / mean_spread))


def _length(runs: np.ndarray) -> float | None:
    """Sum of the angles between successive columns of the runs' deviations; None if unknown."""
    deviation = runs - runs.mean(axis=0)
    size = np.sqrt(np.sum(deviation**2, axis=0))
    moving = size > 1e-9 * np.abs(runs).max(axis=0)
    if len(runs) < 3:
        return None  # two runs deviate in one direction only
    unit = deviation[:, moving] / size[moving]
    cosine = np.sum(unit[:, 1:] * unit[:, :-1], axis=0)
    return float(np.sum(np.arccos(np.clip(cosine, -1.0, 1.0))))


def largest(values: np.ndarray) -> float:
    """Largest absolute value of those that are defined, NaN if none is."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if known.size else float("nan")


def root_mean_square(values: np.ndarray) -> float:
    """Of the values that are defined, NaN if none is."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")


def plain(value: Any) -> Any:
    """Arrays as nested lists, numbers that are not finite as None."""
    if isinstance(value, np.ndarray):
        return [plain(inner) for inner in value.tolist()]
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
