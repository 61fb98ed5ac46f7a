"""Comparison of a mean-field solution with a finite-dimensional simulation.

A simulation differs from the mean field by sampling, of order d^(-1/2) per run and known from the
spread over runs, and by a bias of order 1/d that more runs do not remove. Both are judged: `z` is
the difference in standard errors, and a small relative difference, `tolerance`, is granted to the
two integrators and to the bias before a difference counts as one.

The verdict is a test over all quantities, see `dmft.results.differences` for one. Solution and
simulation disagree if the probability of such differences by chance is below `SIGNIFICANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.results.differences import (
    Difference,
    curve_difference,
    kernel_difference,
    largest,
    root_mean_square,
)
from dmft.results.observables import main_curves
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

KERNELS = ("correlation_error", "correlation_residual", "overlap")
SIGNIFICANCE = 0.01
# Relative bias of a network times its dimension: of the squared loss, and of other losses, where
# weights escape like e^(2G) along a force whose tails a network of finite size lacks. Measured on a
# logistic network in the middle of its escape: its norm^2 is 41 % low at d = 300, 19 % at d = 1500.
FINITE_SIZE, FINITE_SIZE_OF_OTHER_LOSSES = 10.0, 120.0
_LARGE_TOLERANCE = 0.2  # a relative difference from which on agreement says little
_KERNEL_TIMES = 6
_ROWS = 10


@dataclass(frozen=True)
class Comparison:
    """Differences between a solution and a simulation, and what they amount to.

    Attributes
    ----------
    curves : the main curves of the problem that both sides have, at the simulation's times.
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
            worst = largest(kernel.z)
            lines.append(
                f"{kernel.name.replace('_', ' '):<22}"
                f"{_number(root_mean_square(kernel.relative), '.2%')} relative difference (rms), "
                f"largest |z| {_number(worst, '.1f')} of {kernel.z.size} entries"
            )
        lines += [f"note: {note}" for note in self.notes]
        lines.append(
            f"probability of such differences by chance, beyond a relative {self.tolerance:.2%}: "
            f"{self.probability:.2g} (agreement: at least {SIGNIFICANCE:g})"
        )
        lines.append(self.verdict)
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
    solution: Solution, simulation: Simulation, *, finite_size: float | None = None
) -> Comparison:
    """Compare learning curves and kernels of the mean field with those of finite networks.

    The solution is interpolated at the simulation's times; times after its end are left out, and so
    are, in discrete dynamics, steps that it does not store.

    Units: differences are in standard errors of both sides, after the relative allowance.

    Parameters
    ----------
    solution, simulation : of the same problem.
    finite_size : relative bias granted to a simulation times its dimension; by default 10 with the
        squared loss (benchmarks/convergence.py measures it), 120 with others.

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
    if finite_size is None:
        regression = solution.problem.regression
        finite_size = FINITE_SIZE if regression else FINITE_SIZE_OF_OTHER_LOSSES
    if not 0.0 <= finite_size < np.inf:
        raise InputError(f"given {finite_size}, must be at least 0", "finite_size")
    dimension = simulation.settings.dimension
    rtol = max(solution.settings.rtol, solution.rtol or 0.0)
    tolerance = rtol + simulation.settings.rtol + finite_size / dimension
    common = _common_times(solution, simulation)
    names = [
        name
        for name in main_curves(solution.problem)
        if name in solution.curves and name in simulation.curves
    ]
    curves = tuple(
        curve_difference(solution, simulation, name, common, tolerance) for name in names
    )
    chosen = _kernel_times(solution, simulation)
    kernels = tuple(
        kernel_difference(solution, simulation, name, chosen, tolerance) for name in KERNELS
    )
    return Comparison(
        curves=curves,
        kernels=kernels,
        tolerance=tolerance,
        dimension=dimension,
        replicates=solution.runs,
        seeds=simulation.runs,
        notes=_notes(solution, simulation, curves, len(common), tolerance),
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
        gaps[kernel.name] = root_mean_square(relative)
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


def _notes(
    solution: Solution,
    simulation: Simulation,
    curves: tuple[Difference, ...],
    common: int,
    tolerance: float,
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
        if curve.vanished[-1:].any():
            words = curve.name.replace("_", " ")
            later = np.flatnonzero(~curve.vanished)
            first = curve.time[later[-1] + 1 if len(later) else 0]
            notes.append(f"{words} has vanished from time {first:.3g} on, no z there")
    if tolerance > _LARGE_TOLERANCE:
        notes.append(
            f"a relative {tolerance:.0%} is granted, mostly to networks of this size, so agreement "
            "says little: take a larger dimension"
        )
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
