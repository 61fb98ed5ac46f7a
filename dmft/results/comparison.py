"""Comparison of a mean-field solution with a finite-dimensional simulation.

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
few or independent times the number of times, times P(|T_nu| > z), is a better bound. Solution and
simulation disagree if the probability of all this happening by chance is below `SIGNIFICANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import t as student

from dmft.errors import InputError
from dmft.results.interpolation import curve_at, curve_error_at, kernel_at, kernel_error_at
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

CURVES = ("train_mse", "excess_risk")
CHARGES = ("mean_charge", "effective_alpha")  # where both sides have them
KERNELS = ("correlation_error", "correlation_residual", "overlap")
SIGNIFICANCE = 0.01
FINITE_SIZE = 10.0
_VANISHED = 1e-10  # of its start, below which a quantity is compared absolutely only
_KERNEL_TIMES = 6
_ROWS = 10


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
            "largest_z": _largest(self.z),
            "largest_relative_difference": _largest(self.relative),
            "probability": self.probability,
        }
        return {key: _plain(value) for key, value in table.items()}


@dataclass(frozen=True)
class Comparison:
    """Differences between a solution and a simulation, and what they amount to.

    Attributes
    ----------
    curves : train_mse, excess_risk and, where both sides have them, mean_charge and
        effective_alpha, at the simulation's times.
    kernels : correlation_error, correlation_residual and overlap at pairs of a few times, far
        enough apart for their entries to differ.
    tolerance : relative difference granted: both rtol, and the finite-size bias finite_size/d.
    notes : lines about what could not be compared.
    """

    curves: tuple[Difference, ...]
    kernels: tuple[Difference, ...]
    tolerance: float
    dimension: int
    seeds: int
    replicates: int
    notes: tuple[str, ...]

    @property
    def probability(self) -> float:
        """Of differences like these by chance, were both right up to the tolerance."""
        every = self.curves + self.kernels
        return min(1.0, len(every) * min(each.probability for each in every))

    @property
    def agrees(self) -> bool | None:
        """Whether `probability` is at least 0.01; None if it is not but a side has no errors.

        Leaving out a side's errors makes differences look larger: agreement then still counts,
        disagreement says nothing.
        """
        if self.probability >= SIGNIFICANCE:
            return True
        return False if min(self.seeds, self.replicates) > 1 else None

    @property
    def verdict(self) -> str:
        """`agrees` in words."""
        if self.agrees is None:
            return "undecided: they differ, but a side has no error bars"
        return "they agree" if self.agrees else "they do NOT agree"

    def table(self) -> str:
        """Both curves at about ten times, a line on every kernel, the notes, the criterion."""
        lines: list[str] = []
        for curve in self.curves:
            lines += [*_curve_table(curve), ""]
        for kernel in self.kernels:
            largest = _largest(kernel.z)
            lines.append(
                f"{kernel.name.replace('_', ' '):<22}"
                f"{_number(_root_mean_square(kernel.relative), '.2%')} relative difference (rms), "
                f"largest |z| {_number(largest, '.1f')} of {kernel.z.size} entries"
            )
        lines += [f"note: {note}" for note in self.notes]
        lines.append(
            f"probability of such differences by chance, beyond a relative {self.tolerance:.2%}: "
            f"{self.probability:.2g} (agreement: at least {SIGNIFICANCE:g})"
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready tables; what is undefined is None."""
        return {
            "agrees": self.agrees,
            "verdict": self.verdict,
            "probability": self.probability,
            "significance": SIGNIFICANCE,
            "tolerance": self.tolerance,
            "dimension": self.dimension,
            "seeds": self.seeds,
            "replicates": self.replicates,
            "notes": list(self.notes),
            "curves": {curve.name: curve.to_dict() for curve in self.curves},
            "kernels": {kernel.name: kernel.to_dict() for kernel in self.kernels},
        }


def compare(
    solution: Solution, simulation: Simulation, *, finite_size: float = FINITE_SIZE
) -> Comparison:
    """Compare learning curves and kernels of the mean field with those of finite networks.

    The solution is interpolated at the simulation's times; times after its end are left out, and so
    are, in discrete dynamics, steps that it does not store.

    Parameters
    ----------
    solution, simulation : of the same problem.
    finite_size : relative bias granted to a simulation times its dimension; see the module's
        text, and benchmarks/convergence.py, which measures it.

    Raises
    ------
    InputError : other types, swapped arguments, different problems, a negative `finite_size`.

    Examples
    --------
    >>> import dmft
    >>> problem = dmft.Problem()
    >>> solution = dmft.solve(problem, t_max=2.0, n_paths=512)
    >>> simulation = dmft.simulate(problem, dimension=400, seeds=8, t_max=2.0)
    >>> dmft.compare(solution, simulation).verdict
    'they agree'
    """
    _check(solution, simulation)
    if not 0.0 <= finite_size < np.inf:
        raise InputError(f"given {finite_size}, must be at least 0", "finite_size")
    dimension = simulation.settings.dimension
    tolerance = solution.settings.rtol + simulation.settings.rtol + finite_size / dimension
    common = _common_times(solution, simulation)
    names = CURVES + tuple(name for name in CHARGES if _both(solution, simulation, name))
    curves = tuple(_curve(solution, simulation, name, common, tolerance) for name in names)
    chosen = _kernel_times(solution, simulation)
    kernels = tuple(_kernel(solution, simulation, name, chosen, tolerance) for name in KERNELS)
    return Comparison(
        curves=curves,
        kernels=kernels,
        tolerance=tolerance,
        dimension=dimension,
        replicates=_counts(solution, simulation)[0],
        seeds=_counts(solution, simulation)[1],
        notes=_notes(solution, simulation, curves, len(common)),
    )


def relative_gap(solution: Solution, simulation: Simulation) -> dict[str, float]:
    """Root mean square over pairs of times of kernel differences, by the name of the kernel.

    Differences are relative to sqrt(K(t, t) K(s, s)) of the mean field, at the times `compare`
    takes. For single runs the gap closes like d^(-1/2).

    Raises
    ------
    InputError : as `compare`.
    """
    gaps = {}
    for kernel in compare(solution, simulation).kernels:
        # Not relative to the larger side, as in `relative`: a run far above would count less.
        size = np.sqrt(np.abs(np.diag(kernel.mean_field)))
        known = ~kernel.vanished
        relative = kernel.difference[known] / np.outer(size, size)[known]
        gaps[kernel.name] = _root_mean_square(relative)
    return gaps


def _check(solution: object, simulation: object) -> None:
    if isinstance(solution, Simulation) and isinstance(simulation, Solution):
        raise InputError("given a simulation and a solution, must be the solution first", "compare")
    for given, wanted in ((solution, Solution), (simulation, Simulation)):
        if not isinstance(given, wanted):
            name = wanted.__name__
            raise InputError(
                f"given an object of type {type(given).__name__}, must be a {name}", name.lower()
            )
    if solution.problem != simulation.problem:  # type: ignore[attr-defined]
        where, theirs, ours = _first_difference(
            simulation.problem.model_dump(mode="json"),  # type: ignore[attr-defined]
            solution.problem.model_dump(mode="json"),  # type: ignore[attr-defined]
        )
        raise InputError(
            f"given a simulation of another problem, must be the same: {where} is {theirs}, "
            f"the solution has {ours}",
            "compare",
        )


def _first_difference(theirs: Any, ours: Any, where: str = "problem") -> tuple[str, str, str]:
    """Dotted name and both values of the first setting that differs."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.keys() == ours.keys():
        key = next(key for key in theirs if theirs[key] != ours[key])
        return _first_difference(theirs[key], ours[key], f"{where}.{key}")
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return f"{where}.kind", str(theirs.get("kind")), str(ours.get("kind"))
    return where, str(theirs)[:60], str(ours)[:60]


def _both(solution: Solution, simulation: Simulation, name: str) -> bool:
    return getattr(solution, name) is not None and getattr(simulation, name) is not None


def _common_times(solution: Solution, simulation: Simulation) -> np.ndarray:
    """Indices of the simulation's times that the solution covers; steps must be stored ones."""
    if solution.problem.dynamics.discrete:
        return np.flatnonzero(np.isin(simulation.time, solution.time))
    return np.flatnonzero(simulation.time <= solution.time[-1] * (1.0 + 1e-12))


def _kernel_times(solution: Solution, simulation: Simulation) -> np.ndarray:
    """Indices of a few common times, spaced alike in log t."""
    common = _common_times(solution, simulation)
    positive = common[simulation.time[common] > 0.0]
    return positive[_spread(simulation.time[positive], _KERNEL_TIMES)]


def _spread(time: np.ndarray, count: int) -> np.ndarray:
    """Indices of about `count` positive increasing times at equal distances in log t.

    They cover the last three decades; earlier than that nothing has happened yet.
    """
    if len(time) == 0:
        return np.zeros(0, dtype=int)
    wanted = np.geomspace(max(time[0], time[-1] * 1e-3), time[-1], count)
    return np.unique(np.abs(np.log(time)[None, :] - np.log(wanted)[:, None]).argmin(axis=1))


def _curve(
    solution: Solution, simulation: Simulation, name: str, common: np.ndarray, tolerance: float
) -> Difference:
    time, panel, at = solution.time, solution.panel, simulation.time[common]
    mean_field = curve_at(time, panel, getattr(solution, name), at, positive=name in CURVES)
    values = getattr(simulation, name)[common]
    ours, theirs = getattr(solution, f"{name}_stderr"), getattr(simulation, f"{name}_stderr")
    ours = None if ours is None else curve_error_at(time, ours, at)
    theirs = None if theirs is None else theirs[common]
    scale = np.maximum(np.abs(mean_field), np.abs(values))
    lower = np.minimum(np.abs(mean_field), np.abs(values))
    vanished = lower <= _VANISHED * scale.max(initial=0.0)
    runs = getattr(simulation, f"seed_{name}")[:, common[~vanished]]
    freedom = _freedom(ours, theirs, scale, _counts(solution, simulation))
    return Difference(
        name, at, mean_field, values, ours, theirs, scale, vanished, freedom,
        _length(runs), tolerance,
    )  # fmt: skip


def _kernel(
    solution: Solution, simulation: Simulation, name: str, chosen: np.ndarray, tolerance: float
) -> Difference:
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
    freedom = _freedom(ours, theirs, scale, _counts(solution, simulation))
    return Difference(
        name, at, mean_field, values, ours, theirs, scale, vanished, freedom, None, tolerance
    )


def _counts(solution: Solution, simulation: Simulation) -> tuple[int, int]:
    """Replicates and seeds that the errors come from."""
    return solution.replicates, len(simulation.seed)


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


def _notes(
    solution: Solution, simulation: Simulation, curves: tuple[Difference, ...], common: int
) -> tuple[str, ...]:
    notes = []
    if solution.status != "done":
        notes.append(f"the solution is {solution.status}: {solution.reason}")
    if solution.train_mse_stderr is None:
        notes.append("the solution has one replicate, so its errors are not in z")
    if simulation.train_mse_stderr is None:
        notes.append("the simulation has one seed, so its errors are not in z")
    if common < len(simulation.time) and solution.problem.dynamics.discrete:
        left = len(simulation.time) - common
        notes.append(f"{left} recorded steps are left out, the solution does not store them")
    elif common < len(simulation.time):
        notes.append(f"times after {solution.time[-1]:g}, the solution's end, are left out")
    for curve in curves:
        if curve.vanished.any():
            words = curve.name.replace("_", " ")
            first = curve.time[curve.vanished][0]
            notes.append(f"{words} has vanished from time {first:.3g} on, no z there")
    return tuple(notes)


def _curve_table(curve: Difference) -> list[str]:
    title = curve.name.replace("_", " ")
    lines = [
        title,
        f"{'time':>10}  {'mean field':<21}  {'simulation':<21}  {'difference':>10}  {'z':>6}",
    ]
    positive = np.flatnonzero(curve.time > 0.0)
    rows = positive[_spread(curve.time[positive], _ROWS)]
    relative, z = curve.relative, curve.z
    for i in [*np.flatnonzero(curve.time == 0.0), *rows]:
        ours = _with_error(curve.mean_field[i], curve.mean_field_stderr, i)
        theirs = _with_error(curve.simulation[i], curve.simulation_stderr, i)
        lines.append(
            f"{curve.time[i]:>10.4g}  {ours:<21}  {theirs:<21}  "
            f"{_number(relative[i], '+.2%'):>10}  {_number(z[i], '+.1f'):>6}"
        )
    return lines


def _with_error(value: float, errors: np.ndarray | None, index: int) -> str:
    return f"{value:.5g}" if errors is None else f"{value:.5g} ± {errors[index]:.1e}"


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"


def _largest(values: np.ndarray) -> float:
    """Largest absolute value of those that are defined, NaN if none is."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if known.size else float("nan")


def _root_mean_square(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")


def _plain(value: Any) -> Any:
    """Arrays as nested lists, numbers that are not finite as None."""
    if isinstance(value, np.ndarray):
        return [_plain(inner) for inner in value.tolist()]
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
