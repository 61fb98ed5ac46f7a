"""Figures of solutions, simulations and their comparison.

Colours are those of Okabe and Ito, which people with colour-blindness can tell apart. Bands and
bars are two standard errors to either side. Figures are drawn without pyplot, so no display and
no global state is involved.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.problem import Problem
from dmft.problem.dynamics import Dynamics, GradientDescent, GradientFlow
from dmft.problem.networks import Diagonal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.results.comparison import Comparison
    from dmft.results.simulation import Simulation
    from dmft.results.solution import Solution

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
PURPLE, SKY = "#CC79A7", "#56B4E9"
CURVES = {
    "train_mse": ("training error", BLUE, "o"),
    "excess_risk": ("excess risk", VERMILION, "s"),
}
CHARGES = {
    "mean_charge": ("mean charge", GREEN, "^"),
    "effective_alpha": ("effective alpha", PURPLE, "v"),
}
TIME_LABEL, STEP_LABEL = "time (units of the flow)", "steps"
_VANISHED = 1e-14  # of a curve's start: smaller values are rounding errors and are not drawn
_BAND = 2.0
_BAND_WORDS = "±2 standard errors"
_PATHS_OF_A_KIND = 8
_LARGE_SCORE = 20.0
_SATURATED = 0.995  # quantile of a response above which its colours saturate


def plot_solution(solution: Solution, path: str | Path) -> None:
    """Curves with bands, sample paths, the mean charge where it moves, and kernels.

    Parameters
    ----------
    solution : what `dmft.solve` returned.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    settings = solution.settings
    count = solution.replicates
    what = f"Mean field: {_plural(count, 'replicate')} of {settings.n_paths} paths"
    figure = _figure(12.0, 11.5, what, solution.problem)
    # Two parts with layouts of their own: colour bars below take no room above.
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.0, 2.0])[:, 0]
    panels: list[Callable[[Axes, Solution], None]] = [_draw_curves, _draw_paths]
    if solution.mean_charge is not None:
        panels.append(_draw_charge)
    for axes, draw in zip(upper.subplots(1, len(panels)), panels, strict=True):
        draw(axes, solution)
    kernels = solution.kernels
    maps: list[tuple[np.ndarray, str, str]] = [
        (kernels.correlation_error, "error correlation", "$C_w(t, s)$"),
        *_residual_map(kernels.correlation_residual),
        (kernels.overlap, "overlap of the weights", "$E[w(t)\\, w(s)]$"),
    ]
    if kernels.response_weights is not None and kernels.quadrature_weights is not None:
        weights = kernels.quadrature_weights
        # Inside a panel the nodes are coupled and R_w has no pointwise meaning: left blank, and so
        # is the future, to which nothing responds.
        meaningless = (solution.panel[:, None] <= solution.panel) | (weights <= 0)
        response = kernels.response_weights / np.where(meaningless, np.nan, weights)
        unit = "step" if solution.problem.dynamics.discrete else "unit time"
        words = "response of the weights at t to a force at s"
        maps.append((response, words, f"$R_w(t, s)$ per {unit}"))
    for axes, (values, title, label) in zip(lower.subplots(2, 2).flat, maps, strict=False):
        _draw_map(axes, solution.time, values, title, label, solution.problem)
    _write(figure, path)


def plot_simulation(simulation: Simulation, path: str | Path) -> None:
    """Curves with error bars, every run, and kernels of a simulation.

    Parameters
    ----------
    simulation : what `dmft.simulate` returned.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    charged = simulation.mean_charge is not None
    width = 16.0 if charged else 12.0
    figure = _figure(width, 8.0, _ensemble(simulation), simulation.problem)
    axes, *others = figure.subplots(2, 3 if charged else 2).flat
    if charged:
        _draw_charge(others.pop(0), simulation)
        others.pop().remove()
    several = len(simulation.seed) > 1
    for name, (label, colour, marker) in CURVES.items():
        for run in getattr(simulation, f"seed_{name}") if several else ():
            shown = _visible(simulation.time, run)
            axes.plot(simulation.time[shown], run[shown], color=colour, linewidth=0.5, alpha=0.35)
        _draw_points(axes, simulation, name, colour, marker, label)
    bars = f"bars: {_BAND_WORDS}; thin lines: single runs"
    remark = bars if several else "one run: no error bars"
    _finish_curves(axes, remark, simulation.problem)
    maps = [
        (simulation.kernels.correlation_error, "error correlation", "$C_w(t, s)$"),
        *_residual_map(simulation.kernels.correlation_residual),
        (simulation.kernels.overlap, "overlap of the weights", "$w(t) \\cdot w(s) / d$"),
    ]
    for place, (values, title, label) in zip(others, maps, strict=True):
        _draw_map(place, simulation.time, values, title, label, simulation.problem)
    _write(figure, path)


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
    what = f"Mean field and {_ensemble(simulation).lower()}\n{comparison.verdict}"
    charged = len(comparison.curves) > len(CURVES)
    figure = _figure(9.0, 10.5 if charged else 8.0, what, solution.problem)
    heights = [3, 2, 1] if charged else [3, 1]
    upper, *middle, lower = figure.subplots(len(heights), 1, height_ratios=heights, sharex=True)
    for axes in middle:
        _draw_charge(axes, solution)
        _draw_charge(axes, simulation, points=True)
        axes.set_xlabel("")
    _draw_curves(upper, solution)
    for name, (label, colour, marker) in CURVES.items():
        _draw_points(upper, simulation, name, colour, marker, f"{label}, simulation")
    sides = {
        "bands": solution.excess_risk_stderr is not None,
        "bars": simulation.excess_risk_stderr is not None,
    }
    drawn = " and ".join(name for name, there in sides.items() if there)
    remark = f"{drawn}: {_BAND_WORDS}" if drawn else "no error bars"
    _finish_curves(upper, remark, solution.problem)
    _draw_scores(lower, comparison, solution.problem)
    later = simulation.time[simulation.time > 0.0]
    if len(later):  # nothing to compare before the first point
        upper.set_xlim(later[0] / 1.5, max(solution.time[-1], later[-1]) * 1.5)
    upper.set_xlabel("")
    _write(figure, path)


# ---------------------------------------------------------------------- figure and words


def _figure(width: float, height: float, what: str, problem: Problem) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(f"{what}\n{_words(problem)}", fontsize=11)
    return figure


def _write(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format=Path(path).suffix.lstrip(".").lower() or "png")


def _words(problem: Problem) -> str:
    """The problem in a line, the dynamics in another unless it is gradient flow."""
    teacher, network = problem.teacher, problem.network
    density = f" of density {teacher.density:g}" if hasattr(teacher, "density") else ""
    parts = [
        f"sampling ratio {problem.sampling_ratio:g}",
        f"noise {problem.noise_std:g}",
        f"teacher {teacher.kind}{density}",
    ]
    if isinstance(network, Diagonal):
        start = f"start {network.init_scale:g}" if network.init_u is None else "start u, v given"
        parts.append(f"depth {network.depth}, {start}")
    else:
        parts.append("linear network")
    if problem.features.kind != "isotropic":
        parts.append(f"features {problem.features.kind}")
    if problem.dynamics.weight_decay:
        parts.append(f"weight decay {problem.dynamics.weight_decay:g}")
    lines = [parts, _dynamics_words(problem.dynamics)]
    return "\n".join(", ".join(line) for line in lines if line)


def _dynamics_words(dynamics: Dynamics) -> list[str]:
    """Kind, step and batches of a dynamics other than gradient flow."""
    if isinstance(dynamics, GradientFlow):
        return []
    words = [f"{dynamics.kind} of step {dynamics.step_size:g}"]
    if not isinstance(dynamics, GradientDescent):
        words.append(f"batch fraction {dynamics.batch_fraction:g}")
        if dynamics.label_noise_std:
            words.append(f"label noise {dynamics.label_noise_std:g}")
    return words


def _ensemble(simulation: Simulation) -> str:
    settings = simulation.settings
    runs = _plural(len(simulation.seed), "run")
    return f"Simulation of {runs} at dimension {settings.dimension}, {settings.design} design"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


# ---------------------------------------------------------------------- curves


def _visible(time: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What logarithmic axes can show and is no rounding error."""
    return (time > 0.0) & (values > max(_VANISHED * np.max(values, initial=0.0), 1e-300))


def _dense(nodes: np.ndarray) -> np.ndarray:
    """Times for a smooth line: the nodes and a logarithmic grid between the first and the last."""
    later = nodes[nodes > 0.0]
    if len(later) < 2:
        return later
    grid = np.geomspace(later[0], later[-1], 400)
    return np.union1d(later, grid[1:-1])


def _draw_curves(axes: Axes, solution: Solution) -> None:
    for name, (label, colour, _) in CURVES.items():
        error = getattr(solution, f"{name}_stderr")
        time = _dense(solution.time)
        values = solution.curve_at(name, time)
        shown = _visible(time, values)
        time, values = time[shown], values[shown]
        label = label if shown.any() else f"{label}: zero"
        axes.plot(time, values, color=colour, linewidth=1.6, label=label)
        if error is not None:
            half = _BAND * solution.curve_at(f"{name}_stderr", time)
            # A band that reaches zero would have no lower end on a logarithmic axis.
            low = np.maximum(values - half, 1e-2 * values)
            axes.fill_between(time, low, values + half, color=colour, alpha=0.25, linewidth=0)
    several = solution.excess_risk_stderr is not None
    remark = f"bands: {_BAND_WORDS}" if several else "one replicate: no error bars"
    _finish_curves(axes, remark, solution.problem)


def _draw_points(
    axes: Axes, simulation: Simulation, name: str, colour: str, marker: str, label: str
) -> None:
    values, error = getattr(simulation, name), getattr(simulation, f"{name}_stderr")
    shown = _visible(simulation.time, values)
    bars = None if error is None else _BAND * error[shown]
    if bars is not None:
        bars = np.stack([np.minimum(bars, 0.99 * values[shown]), bars])
    axes.errorbar(
        simulation.time[shown], values[shown], yerr=bars, fmt=marker, color=colour, markersize=4,
        markerfacecolor="white", capsize=2, linewidth=1, label=label,
    )  # fmt: skip


def _finish_curves(axes: Axes, remark: str, problem: Problem) -> None:
    axes.set(xscale="log", yscale="log", xlabel=_time_label(problem), ylabel="mean squared error")
    axes.set_title("learning curves", fontsize=10)
    axes.grid(alpha=0.25)
    legend = axes.legend(fontsize=9, loc="lower left", title=remark, title_fontsize=8)
    legend.set_alignment("left")


def _time_label(problem: Problem) -> str:
    return STEP_LABEL if problem.dynamics.discrete else TIME_LABEL


def _draw_scores(axes: Axes, comparison: Comparison, problem: Problem) -> None:
    axes.axhspan(-2, 2, color=GREY, alpha=0.15, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    widest = 3.0
    for difference in comparison.curves:
        _, colour, marker = (CURVES | CHARGES)[difference.name]
        shown = (difference.time > 0.0) & np.isfinite(difference.z)
        score = difference.z[shown]
        axes.plot(
            difference.time[shown], score, f"{marker}-", color=colour, markersize=4,
            markerfacecolor="white", linewidth=0.8,
        )  # fmt: skip
        widest = max(widest, float(np.abs(score).max(initial=0.0)))
    if not any(np.isfinite(difference.z).any() for difference in comparison.curves):
        axes.text(
            0.5, 0.5, "no z-scores: neither side has error bars", transform=axes.transAxes,
            ha="center", va="center", backgroundcolor="white",
        )  # fmt: skip
    axes.set(xscale="log", xlabel=_time_label(problem), ylabel="z-score")
    axes.set_ylim(-1.1 * widest, 1.1 * widest)
    if widest > _LARGE_SCORE:  # what is within a few errors should remain to be seen
        axes.set_yscale("symlog", linthresh=_LARGE_SCORE / 2, linscale=2.0)
    title = "z: simulation minus mean field, in standard errors of both"
    axes.set_title(f"{title} (grey: within 2)", fontsize=10)
    axes.grid(alpha=0.25)


# ---------------------------------------------------------------------- paths and charge


def _draw_paths(axes: Axes, solution: Solution) -> None:
    axes.set(xscale="log", xlabel=_time_label(solution.problem), ylabel="weight $w$")
    axes.set_title("sample paths of the effective process", fontsize=10)
    axes.grid(alpha=0.25)
    paths = solution.paths
    if paths is None:
        axes.text(0.5, 0.5, "not stored", transform=axes.transAxes, ha="center")
        return
    zero = paths.teacher == 0.0
    order = np.argsort(paths.teacher, kind="stable")
    colours = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY]
    chosen = [index for kind in (zero, ~zero) for index in _spread(order[kind[order]])]
    end = solution.time[-1]
    later = solution.time > 0.0
    for number, index in enumerate(chosen):
        colour = GREY if zero[index] else colours[number % len(colours)]
        axes.plot(
            solution.time[later], paths.weights[index, later], color=colour, linewidth=1.0,
            alpha=0.6 if zero[index] else 1.0,
        )  # fmt: skip
        axes.plot(end * 1.6, paths.teacher[index], "D", color=colour, markersize=4.5)
    axes.set_xlim(right=end * 2.2)
    marks = [axes.plot([], [], "D", color=BLUE, markersize=4.5, label="teacher value $w^*$")[0]]
    if zero.any():
        marks.append(axes.plot([], [], color=GREY, label="$w^* = 0$")[0])
    axes.legend(handles=marks, fontsize=9, loc="best")


def _spread(indices: np.ndarray) -> np.ndarray:
    """A few of the indices, evenly spaced."""
    count = min(len(indices), _PATHS_OF_A_KIND)
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]


def _draw_charge(axes: Axes, result: Solution | Simulation, points: bool = False) -> None:
    """The mean charge and, where it is known, that of the effective alpha."""
    assert result.mean_charge is not None
    curves = [(result.mean_charge, result.mean_charge_stderr, GREEN, "^", "mean")]
    if result.effective_alpha is not None:
        alpha, error = result.effective_alpha, result.effective_alpha_stderr
        of_charge = None if error is None else 4.0 * alpha * error
        words = "of the effective alpha, $2\\alpha^2$"
        curves.append((2.0 * alpha**2, of_charge, PURPLE, "v", words))
    later = result.time > 0.0
    time = result.time[later]
    for values, error, colour, marker, label in curves:
        values = values[later]
        half = np.zeros_like(values) if error is None else _BAND * error[later]
        if points:
            axes.errorbar(
                time, values, yerr=half, fmt=marker, color=colour, markersize=4,
                markerfacecolor="white", capsize=2, linewidth=1, label=f"{label}, simulation",
            )  # fmt: skip
        else:
            axes.plot(time, values, color=colour, linewidth=1.6, label=label)
            axes.fill_between(
                time, values - half, values + half, color=colour, alpha=0.25, linewidth=0
            )
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xscale="log", xlabel=_time_label(result.problem), ylabel="charge $u^2 - v^2$")
    axes.set_title("charge" if len(curves) > 1 else "mean charge", fontsize=10)
    axes.grid(alpha=0.25)
    if len(curves) > 1:
        axes.legend(fontsize=9, loc="lower left")


# ---------------------------------------------------------------------- kernels


def _residual_map(kernel: np.ndarray) -> list[tuple[np.ndarray, str, str]]:
    """C_r over its standard deviations, which fall by decades; blank where they have vanished."""
    diagonal = np.diag(kernel)
    start = np.max(diagonal, initial=0.0)
    deviation = np.sqrt(np.where(diagonal > _VANISHED * start, diagonal, np.nan))
    label = "$C_r(t, s) \\, / \\, \\sqrt{C_r(t, t)\\, C_r(s, s)}$"
    return [(kernel / np.outer(deviation, deviation), "residual correlation", label)]


def _draw_map(
    axes: Axes, time: np.ndarray, values: np.ndarray, title: str, label: str, problem: Problem
) -> None:
    """A kernel over logarithmic times; signs, if there are two, by a diverging colour map."""
    later = time > 0.0
    kernel = values[np.ix_(later, later)]
    finite = kernel[np.isfinite(kernel)]
    low = float(finite.min()) if finite.size else 0.0
    high = float(finite.max()) if finite.size else 0.0
    # A response has a few large entries near the diagonal; they may saturate.
    top = float(np.quantile(np.abs(finite), _SATURATED)) if finite.size else 0.0
    saturates = top < 0.5 * max(-low, high)
    top = (top if saturates else max(-low, high)) or 1.0
    if low >= -0.02 * top:
        colours, limits, extend = "viridis", (0.0, top), "max"
    elif high <= 0.02 * top:
        colours, limits, extend = "viridis_r", (-top, 0.0), "min"
    else:
        colours, limits, extend = "RdBu_r", (-top, top), "both"
    image = axes.pcolormesh(
        time[later], time[later], kernel, cmap=colours, vmin=limits[0], vmax=limits[1],
        shading="nearest", rasterized=True,
    )  # fmt: skip
    axes.set(xscale="log", yscale="log", facecolor="white")
    unit = "step" if problem.dynamics.discrete else "time"
    flow = "" if problem.dynamics.discrete else " (units of the flow)"
    axes.set(xlabel=f"{unit} s{flow}", ylabel=f"{unit} t{flow}")
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(image, ax=axes, label=label, extend=extend if saturates else "neither")
