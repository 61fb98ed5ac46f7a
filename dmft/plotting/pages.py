"""Whole pages, written to a file: a solution, a simulation, both compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.plotting import style
from dmft.plotting.curves import (
    draw_charge,
    draw_curve,
    finish,
    has_charge,
    main_errors,
    main_overlaps,
    plot_curves,
)
from dmft.plotting.kernels import KERNELS, plot_kernel
from dmft.plotting.paths import draw_paths, has_paths
from dmft.plotting.style import GREY, look_of, plural, words_of
from dmft.problem import Problem
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dmft.results.comparison import Comparison

_LARGE_SCORE = 20.0
_CORRELATIONS = ("correlation_error", "correlation_residual", "overlap")


def plot_solution(solution: Solution, path: str | Path) -> None:
    """The main curves with bands, sample paths, charges where they move, and kernels.

    Parameters
    ----------
    solution : what `dmft.solve` returned.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    panels = _curve_panels(solution)
    panels.insert(1, lambda axes: draw_paths(axes, solution))
    kernels = list(_CORRELATIONS)
    if solution.kernels.response_weights is not None:
        kernels.append("response_weights")
    shape = (2, 2) if len(kernels) == 4 else (1, 3)
    height, ratios = (11.5, [1.0, 2.0]) if shape == (2, 2) else (9.0, [1.0, 1.1])
    width = 4.0 + 4.0 * len(panels)
    figure = style.figure(width, height, _solved(solution), solution.problem)
    # Two parts with layouts of their own: colour bars below take no room above.
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, draw in zip(_row(upper, len(panels)), panels, strict=True):
        draw(axes)
    for axes, name in zip(lower.subplots(*shape).flat, kernels, strict=True):
        plot_kernel(solution, name, axes)
    style.write(figure, path)


def plot_simulation(simulation: Simulation, path: str | Path) -> None:
    """The main curves with error bars, every run, charges where they move, and kernels.

    Parameters
    ----------
    simulation : what `dmft.simulate` returned.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    panels = _curve_panels(simulation)
    figure = style.figure(14.0, 8.5, style.ensemble(simulation), simulation.problem)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.2, 1.0])[:, 0]
    for axes, draw in zip(_row(upper, len(panels)), panels, strict=True):
        draw(axes)
    for axes, name in zip(lower.subplots(1, 3).flat, _CORRELATIONS, strict=True):
        plot_kernel(simulation, name, axes)
    style.write(figure, path)


@dataclass(frozen=True)
class Part:
    """A panel that can be a figure of its own: whether a result has it, and who draws it."""

    exists: Callable[[Any], Any]
    draw: Callable[[Axes, Any], object]


def _part_of_kernel(name: str) -> Part:
    return Part(
        lambda result: getattr(result.kernels, name) is not None,
        lambda axes, result: plot_kernel(result, name, axes),
    )


PARTS: dict[str, Part] = {
    "curves": Part(lambda result: True, lambda axes, result: plot_curves(result, ax=axes)),
    "overlaps": Part(
        main_overlaps, lambda axes, result: _draw_overlaps(axes, result, main_overlaps(result))
    ),
    "paths": Part(has_paths, draw_paths),
    "charge": Part(has_charge, draw_charge),
    **{name: _part_of_kernel(name) for name in KERNELS},
}


def kinds_of(result: Solution | Simulation) -> tuple[str, ...]:
    """What `plot_part` can draw of a result."""
    return tuple(kind for kind, part in PARTS.items() if part.exists(result))


def plot_part(result: Solution | Simulation, kind: str, path: str | Path) -> None:
    """One panel of a page as a figure of its own.

    Parameters
    ----------
    result : a solution or a simulation.
    kind : curves, overlaps, paths, charge, or the name of a kernel as `plot_kernel` takes it.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).

    Raises
    ------
    InputError : a kind that the result does not have.
    """
    if kind not in kinds_of(result):
        raise InputError(f"given '{kind}', allowed: {', '.join(kinds_of(result))}", "kind")
    what = _solved(result) if isinstance(result, Solution) else style.ensemble(result)
    figure = style.figure(7.5, 5.8, what, result.problem)
    PARTS[kind].draw(figure.subplots(), result)
    style.write(figure, path)


def _solved(solution: Solution) -> str:
    """Replicates and paths of a solution."""
    paths = solution.settings.n_paths
    return f"Mean field: {plural(solution.replicates, 'replicate')} of {paths} paths"


def plot_comparison(solution: Solution, simulation: Simulation, path: str | Path) -> None:
    """Mean-field curves with the simulation's points, and below the z-scores between them.

    Parameters
    ----------
    solution, simulation : of the same problem, as `dmft.compare` takes them.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).

    Raises
    ------
    InputError : as `dmft.compare`.
    """
    from dmft.results.comparison import compare

    comparison = compare(solution, simulation)
    what = f"Mean field and {style.ensemble(simulation).lower()}\n{_verdict(comparison)}"
    overlaps = tuple(n for n in main_overlaps(solution) if n in simulation.curves)
    charged = has_charge(solution) and has_charge(simulation)
    middle_panels = bool(overlaps) + charged
    heights = [3, *[2] * middle_panels, 1.3]
    figure = style.figure(9.0, 8.0 + 2.5 * middle_panels, what, solution.problem)
    upper, *middle, lower = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True)
    scale = style.time_scale(simulation.time)
    errors = tuple(n for n in main_errors(solution) if n in simulation.curves)
    _draw_both(upper, solution, simulation, errors, scale, True)
    if overlaps:
        _draw_both(middle[0], solution, simulation, overlaps, scale, False)
    if charged:
        draw_charge(middle[-1], solution)
        draw_charge(middle[-1], simulation, ", simulation")
    _draw_scores(lower, comparison, solution.problem, scale)
    later = simulation.time[simulation.time > 0.0]
    end = max(solution.time[-1], later[-1] if len(later) else 0.0)
    if scale == "log":
        upper.set_xlim(later[0] / 1.5, end * 1.5)
    elif len(later):
        upper.set_xlim(-0.02 * end, 1.02 * end)
    for axes in (upper, *middle):
        axes.set_xlabel("")
    style.write(figure, path)


def _curve_panels(result: Solution | Simulation) -> list[Callable[[Axes], object]]:
    """What draws each panel of curves."""
    panels: list[Callable[[Axes], object]] = [lambda axes: plot_curves(result, ax=axes)]
    overlaps = main_overlaps(result)
    if overlaps:
        panels.append(lambda axes: _draw_overlaps(axes, result, overlaps))
    if has_charge(result):
        panels.append(lambda axes: draw_charge(axes, result))
    return panels


def _draw_overlaps(axes: Axes, result: Solution | Simulation, names: tuple[str, ...]) -> None:
    plot_curves(result, names, axes)
    axes.set_title("overlap and norm", fontsize=10)


def _row(figure: object, count: int) -> list[Axes]:
    """Axes beside each other."""
    return list(figure.subplots(1, count, squeeze=False)[0])  # type: ignore[attr-defined]


def _draw_both(
    axes: Axes,
    solution: Solution,
    simulation: Simulation,
    names: tuple[str, ...],
    scale: str,
    positive: bool,
) -> None:
    log = (scale == "log", positive)
    for result, suffix in ((solution, ""), (simulation, ", simulation")):
        for number, name in enumerate(names):
            colour, marker = look_of(name, number)
            draw_curve(axes, result, name, colour, marker, f"{words_of(name)}{suffix}", log=log)
    finish(axes, [solution, simulation], names, scale, positive)
    if not positive:
        axes.set_title("overlap and norm", fontsize=10)


def _verdict(comparison: Comparison) -> str:
    """Whether the sides agree, and what that rests on."""
    chance = f"probability of such differences by chance, beyond {comparison.tolerance:.2g}"
    return f"{comparison.verdict} ({chance} relative: {comparison.probability:.2g})"


def _draw_scores(axes: Axes, comparison: Comparison, problem: Problem, scale: str) -> None:
    from scipy.stats import t as student

    axes.axhline(0, color=GREY, linewidth=0.8)
    widest = 3.0
    # What lies within is so for every curve: a few runs allow more than two standard errors.
    freedom = np.max([difference.freedom for difference in comparison.curves], axis=0)
    time, usual = comparison.curves[0].time, student.ppf(0.5 + style.LEVEL / 2.0, freedom)
    drawn = time > 0.0 if scale == "log" else time >= 0.0
    usual = usual[drawn]
    axes.fill_between(time[drawn], -usual, usual, color=GREY, alpha=0.15, linewidth=0)
    for number, difference in enumerate(comparison.curves):
        colour, marker = look_of(difference.name, number)
        shown = np.isfinite(difference.z)
        if scale == "log":
            shown &= difference.time > 0.0
        score = difference.z[shown]
        axes.plot(
            difference.time[shown], score, f"{marker}-", color=colour, markersize=4,
            markerfacecolor="white", linewidth=0.8, label=words_of(difference.name),
        )  # fmt: skip
        widest = max(widest, float(np.abs(score).max(initial=0.0)))
    if not any(np.isfinite(difference.z).any() for difference in comparison.curves):
        axes.text(
            0.5, 0.5, "no z-scores: neither side has error bars", transform=axes.transAxes,
            ha="center", va="center", backgroundcolor="white",
        )  # fmt: skip
    style.finish_time(axes, problem, scale)
    axes.set_ylabel("z-score")
    room = 0.5 * -(-len(comparison.curves) // 3)  # of the legend, by its rows
    axes.set_ylim(-1.1 * widest, (1.1 + room) * widest)
    if widest > _LARGE_SCORE:  # what is within a few errors should remain to be seen
        axes.set_yscale("symlog", linthresh=_LARGE_SCORE / 2, linscale=2.0)
    title = "z: simulation minus mean field, in standard errors of both"
    axes.set_title(f"{title} (grey: {style.BAND_WORDS}, at one time)", fontsize=10)
    axes.legend(fontsize=7, loc="upper left", ncols=3)
