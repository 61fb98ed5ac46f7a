"""Learning curves: lines with bands of a solution, points with bars of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.plotting.style import (
    BAND_WORDS,
    GREEN,
    GREY,
    PURPLE,
    VANISHED,
    axes_for,
    finish_time,
    half_width,
    has_errors,
    look_of,
    time_scale,
    words_of,
)
from dmft.results.curves import Curves
from dmft.results.observables import CHARGES, is_positive, main_curves
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVERLAPS = ("overlap", "squared_norm")
_DENSE = 400


def main_errors(result: Curves) -> tuple[str, ...]:
    """The main curves that are errors or losses."""
    left_out = (*CHARGES, *OVERLAPS)
    return tuple(n for n in main_curves(result.problem) if n in result.curves and n not in left_out)


def main_overlaps(result: Curves) -> tuple[str, ...]:
    """The main curves that are overlaps: none where errors say the same."""
    return tuple(n for n in main_curves(result.problem) if n in result.curves and n in OVERLAPS)


def plot_curves(
    result: Solution | Simulation,
    names: str | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw curves over time: smooth lines with bands, or points with bars and every run.

    Bands and bars are 95 % confidence intervals by Student's t over the runs. The axis of values is
    logarithmic if all curves are positive, that of time if recorded times span decades.

    Parameters
    ----------
    result : a solution or a simulation.
    names : of `result.curves`; the errors and losses among the main curves by default.
    ax : matplotlib axes to draw into; new ones by default, `ax.figure.savefig` writes them.

    Raises
    ------
    InputError : a curve that the result does not have.

    Examples
    --------
    >>> import dmft
    >>> solution = dmft.solve(dmft.Problem(), t_max=1.0, n_paths=128, replicates=2)
    >>> axes = dmft.plotting.plot_curves(solution, ["overlap", "squared_norm"])
    >>> axes.get_xlabel()
    'time (units of the flow)'
    """
    chosen = (names,) if isinstance(names, str) else main_errors(result) if names is None else names
    if not chosen:
        raise InputError(f"given none, allowed: {', '.join(result.curves)}", "names")
    check_names(result, chosen)
    axes = axes_for(ax)
    scale = time_scale(result.time)
    positive = all(is_positive(name) for name in chosen)
    for number, name in enumerate(chosen):
        colour, marker = look_of(name, number)
        log = (scale == "log", positive)
        draw_curve(axes, result, name, colour, marker, words_of(name), log=log, runs=True)
    finish(axes, [result], chosen, scale, positive)
    return axes


def end_at_values(axes: Axes) -> None:
    """Let a logarithmic axis end below the smallest value, not where bars that reach zero end."""
    lines = [line for line in axes.get_lines() if line.get_marker() != "_"]  # caps of bars
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in lines])
    values = values[values > 0.0]
    if len(values):
        axes.set_ylim(bottom=values.min() / 2.0)


def check_names(result: Curves, names: Sequence[str]) -> None:
    """Refuse a curve that is not there.

    Raises
    ------
    InputError : as said.
    """
    for name in names:
        if name not in result.curves:
            raise InputError(f"given '{name}', allowed: {', '.join(result.curves)}", "names")


def finish(
    axes: Axes, results: Sequence[Curves], names: Sequence[str], scale: str, positive: bool
) -> None:
    """Axes, title and legend of curves."""
    finish_time(axes, results[0].problem, scale)
    squared = all(name.endswith(("_mse", "excess_risk")) for name in names)
    rates = all(name.endswith(("_loss", "_error")) for name in names)
    several = "mean squared error" if squared else "loss and error rate" if rates else "value"
    label = words_of(names[0]) if len(names) == 1 else several
    axes.set(yscale="log" if positive else "linear", ylabel=label)
    if positive:
        end_at_values(axes)
    axes.set_title("learning curves", fontsize=10)
    legend = axes.legend(fontsize=9, loc="best", title=remark(results), title_fontsize=8)
    legend.set_alignment("left")


def remark(results: Sequence[Curves]) -> str:
    """What bands and bars are."""
    drawn, missing = set(), set()
    several_runs = False
    for result in results:
        network = isinstance(result, Simulation)
        if has_errors(result):
            drawn.add("bars" if network else "bands")
            several_runs = several_runs or network
        else:
            missing.add("one run" if network else "one replicate")
    if not drawn:
        return " and ".join(sorted(missing)) + ": no error bars"
    words = f"{' and '.join(sorted(drawn))}: {BAND_WORDS}"
    return f"{words}; thin lines: single runs" if several_runs and len(results) == 1 else words


def draw_curve(
    axes: Axes,
    result: Curves,
    name: str,
    colour: str,
    marker: str,
    label: str,
    *,
    log: tuple[bool, bool],
    runs: bool = False,
    linestyle: str = "-",
) -> None:
    """One curve, without what its axes (`log`: of time, of values) cannot show."""
    half = half_width(result, name)
    if isinstance(result, Solution):
        _draw_line(axes, result, name, half, log, color=colour, label=label, linestyle=linestyle)
        return
    kept = result.curves[name].runs
    if runs and kept is not None and len(kept) > 1:
        for run in kept:
            shown = visible(result.time, run, log)
            axes.plot(result.time[shown], run[shown], color=colour, linewidth=0.5, alpha=0.35)
    values = result.curves[name].mean
    shown = visible(result.time, values, log)
    label = label if shown.any() else f"{label}: zero"
    points(axes, result.time[shown], values[shown], None if half is None else half[shown],
           log[1], fmt=marker, color=colour, label=label)  # fmt: skip


def points(
    axes: Axes,
    time: np.ndarray,
    values: np.ndarray,
    half: np.ndarray | None,
    log: bool,
    **look: Any,
) -> None:
    """Points with bars; on a logarithmic axis a bar that reaches zero ends above it."""
    bars = half
    if half is not None and log:
        bars = np.stack([np.minimum(half, 0.99 * values), half])
    axes.errorbar(
        time,
        values,
        yerr=bars,
        markersize=4,
        markerfacecolor="white",
        capsize=2,
        linewidth=1,
        **look,
    )


def _draw_line(
    axes: Axes,
    solution: Solution,
    name: str,
    half: np.ndarray | None,
    log: tuple[bool, bool],
    **look: Any,
) -> None:
    time = dense(solution)
    values = np.asarray(solution.curve_at(name, time))
    shown = visible(time, values, log)
    time, values = time[shown], values[shown]
    look["label"] = look["label"] if shown.any() else f"{look['label']}: zero"
    axes.plot(time, values, linewidth=1.6, **look)
    if half is not None:
        width = np.interp(time, solution.time, half)  # as `curve_at` does with standard errors
        # A band that reaches zero would have no lower end on a logarithmic axis.
        low = np.maximum(values - width, 1e-2 * values) if log[1] else values - width
        axes.fill_between(time, low, values + width, color=look["color"], alpha=0.2, linewidth=0)


def visible(time: np.ndarray, values: np.ndarray, log: tuple[bool, bool]) -> np.ndarray:
    """What the axes (of time, of values) can show and is no rounding error."""
    shown = time > 0.0 if log[0] else np.ones(len(time), dtype=bool)
    if log[1]:
        shown &= values > max(VANISHED * np.max(values, initial=0.0), 1e-300)
    return shown


def dense(solution: Solution) -> np.ndarray:
    """Times for a smooth line: the nodes and a grid as even as the axis; steps as they are."""
    nodes = solution.time
    later = nodes[nodes > 0.0]
    if solution.problem.dynamics.discrete or len(later) < 2:
        return nodes
    if time_scale(nodes) == "log":
        grid = np.geomspace(later[0], later[-1], _DENSE)
    else:
        grid = np.linspace(later[0], later[-1], _DENSE)
    return np.union1d(nodes, grid[1:-1])


# ---------------------------------------------------------------------- charge


def draw_charge(axes: Axes, result: Solution | Simulation, suffix: str = "") -> None:
    """The mean charge and, where it is known, that of the effective alpha."""
    half = half_width(result, "mean_charge")
    curves = [(result.curves["mean_charge"].mean, half, GREEN, "^", f"mean charge{suffix}")]
    if "effective_alpha" in result.curves:
        alpha, error = result.curves["effective_alpha"].mean, half_width(result, "effective_alpha")
        of_charge = None if error is None else 4.0 * alpha * error
        words = f"of the effective alpha, $2\\alpha^2${suffix}"
        curves.append((2.0 * alpha**2, of_charge, PURPLE, "v", words))
    scale = time_scale(result.time)
    shown = result.time > 0.0 if scale == "log" else result.time >= 0.0
    time = result.time[shown]
    for values, error, colour, marker, label in curves:
        width = None if error is None else error[shown]
        if isinstance(result, Simulation):
            points(axes, time, values[shown], width, False, fmt=marker, color=colour, label=label)
            continue
        axes.plot(time, values[shown], color=colour, linewidth=1.6, label=label)
        if width is not None:
            low, high = values[shown] - width, values[shown] + width
            axes.fill_between(time, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    finish_time(axes, result.problem, scale)
    axes.set_ylabel("charge $u^2 - v^2$")
    axes.set_title("charge" if len(curves) > 1 else "mean charge", fontsize=10)
    axes.legend(fontsize=9, loc="best")


def has_charge(result: Curves) -> bool:
    """Whether charges move and were measured."""
    return "mean_charge" in result.curves and "mean_charge" in main_curves(result.problem)
