"""Several results in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dmft.errors import InputError
from dmft.plotting import style
from dmft.plotting.curves import draw_curve, end_at_values, main_errors, main_overlaps, remark
from dmft.plotting.style import COLOURS, MARKERS, finish_time, time_scale, words_of
from dmft.problem.display import problem_words
from dmft.results.observables import is_positive
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

_DASHES = ("-", "--", ":", "-.")


def plot_overlay(results: Mapping[str, Solution | Simulation], path: str | Path) -> None:
    """The main curves that all results have, a panel each: a colour per result.

    Solutions are lines with bands, simulations points with bars: 95 % intervals by Student's t.
    Results of one problem share its title, others have theirs in the legend.

    Parameters
    ----------
    results : two or more, by the name that the legend calls them.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).

    Raises
    ------
    InputError : fewer than two, times in different units, or no main curve in common.
    """
    if len(results) < 2:
        raise InputError(f"given {len(results)}, must be two at least", "results")
    names = _common(results)
    first = next(iter(results.values())).problem
    shared = all(result.problem == first for result in results.values())
    what = f"{len(results)} results"
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    key_lines = 0.25 * len(results) * (1 if shared else 2)
    height = 4.2 * rows + 0.8 + key_lines
    figure = style.figure(4.8 * columns + 1.0, height, what, first if shared else None)
    axes_of = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, name in zip(axes_of, names, strict=False):
        # A simulation's few times must not hide the decades of a solution.
        scales = {time_scale(result.time) for result in results.values()}
        scale = "log" if "log" in scales else "linear"
        log = (scale == "log", is_positive(name) and name != "squared_norm")
        for number, (label, result) in enumerate(results.items()):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
            draw_curve(axes, result, name, colour, marker, label, log=log, linestyle=dash)
        finish_time(axes, first, scale)
        axes.set(yscale="log" if log[1] else "linear", ylabel=words_of(name))
        if log[1]:
            end_at_values(axes)
        axes.set_title(words_of(name), fontsize=10)
    for axes in axes_of[len(names) :]:
        axes.remove()
    handles, _ = axes_of[0].get_legend_handles_labels()
    labels = [
        label if shared else f"{label}: {problem_words(result.problem)}"[:140]
        for label, result in results.items()
    ]
    words = remark(list(results.values()))
    figure.legend(handles, labels, loc="outside lower center", title=words, fontsize=9)
    style.write(figure, path)


def _common(results: Mapping[str, Solution | Simulation]) -> list[str]:
    """Main curves of all results.

    Raises
    ------
    InputError : none, or times in different units.
    """
    units = {label: result.problem.dynamics.discrete for label, result in results.items()}
    if len(set(units.values())) > 1:
        steps = next(label for label, discrete in units.items() if discrete)
        flow = next(label for label, discrete in units.items() if not discrete)
        raise InputError(
            f"counts steps and {flow} time in units of the flow, must be the same to overlay", steps
        )
    main = [(*main_errors(result), *main_overlaps(result)) for result in results.values()]
    common = [name for name in main[0] if all(name in names for names in main)]
    if not common:
        common = [
            name for name in main[0] if all(name in result.curves for result in results.values())
        ]
    if not common:
        label = list(results)[-1]
        raise InputError("has no main curve in common with the other results", label)
    return common
