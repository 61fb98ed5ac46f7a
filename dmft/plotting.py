"""Figures of solutions, simulations and their comparison.

Colours are those of Okabe and Ito, which people with colour-blindness can tell apart. Bands and
bars are two standard errors to either side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.networks import Diagonal
from dmft.problem import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.simulation import Simulation
    from dmft.solution import Solution

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
PURPLE, SKY = "#CC79A7", "#56B4E9"
CURVES = {"train_mse": ("training error", BLUE), "excess_risk": ("excess risk", VERMILION)}
TIME_LABEL = "time (units of the flow)"
_VANISHED = 1e-14  # of a curve's start: smaller values are rounding errors and are not drawn
_BAND = 2.0


def plot_solution(solution: Solution, path: str | Path) -> None:
    """Curves with bands, sample paths and kernels of a solution; the format is path's ending."""
    figure = _figure(12.0, 10.5, _title("Mean field", solution.problem))
    grid = figure.add_gridspec(3, 2)
    _curves(figure.add_subplot(grid[0, 0]), solution)
    lower = figure.add_subplot(grid[0, 1])
    if solution.mean_charge is None:
        _sample_paths(lower, solution)
    else:
        _charge(lower, solution)
    kernels = solution.kernels
    # Inside a panel the nodes are coupled and R_w has no pointwise meaning: left blank.
    coupled = (solution.panel[:, None] == solution.panel) | (kernels.quadrature_weights <= 0)
    weights = np.where(coupled, np.nan, kernels.quadrature_weights)
    maps = [
        (kernels.correlation_error, "error correlation $C_w(t, s)$", None),
        (_correlation(kernels.correlation_residual), "residual correlation, normalised", 1.0),
        (kernels.overlap, "overlap $E[w(t)\\, w(s)]$", None),
        (kernels.response_weights / weights, "response $R_w(t, s)$ per unit time", None),
    ]
    places = [grid[1, 0], grid[1, 1], grid[2, 0], grid[2, 1]]
    for place, (values, title, limit) in zip(places, maps, strict=True):
        _map(figure, figure.add_subplot(place), solution.time, values, title, limit)
    _write(figure, path)


def plot_simulation(simulation: Simulation, path: str | Path) -> None:
    """Curves with error bars, every run, and kernels of a simulation."""
    figure = _figure(12.0, 7.5, _title(_ensemble(simulation), simulation.problem))
    grid = figure.add_gridspec(2, 2)
    axes = figure.add_subplot(grid[0, 0])
    for name, (label, colour) in CURVES.items():
        for run in getattr(simulation, f"seed_{name}"):
            _line(axes, simulation.time, run, colour, linewidth=0.5, alpha=0.35)
        _points(axes, simulation, name, colour, label)
    _finish_curves(axes, "mean (points) and every run (thin lines)")
    maps = [
        (simulation.correlation_error, "error correlation $C_w(t, s)$", None),
        (_correlation(simulation.correlation_residual), "residual correlation, normalised", 1.0),
        (simulation.overlap, "overlap $w(t) \\cdot w(s) / d$", None),
    ]
    places = [grid[0, 1], grid[1, 0], grid[1, 1]]
    for place, (values, title, limit) in zip(places, maps, strict=True):
        _map(figure, figure.add_subplot(place), simulation.time, values, title, limit)
    _write(figure, path)


def plot_comparison(solution: Solution, simulation: Simulation, path: str | Path) -> None:
    """Mean-field curves with the simulation's points, and the z-scores between them."""
    from dmft.comparison import compare

    figure = _figure(9.0, 8.0, _title(_ensemble(simulation), solution.problem))
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    _curves(upper, solution)
    for name, (label, colour) in CURVES.items():
        _points(upper, simulation, name, colour, f"{label}, simulation")
    _finish_curves(upper, "lines: mean field; points: simulation")
    upper.set_xlabel("")
    for difference in compare(solution, simulation).curves:
        label, colour = CURVES[difference.name]
        shown = (difference.time > 0) & np.isfinite(difference.z) & ~difference.vanished
        lower.plot(
            difference.time[shown], difference.z[shown], "o-", color=colour, markersize=4,
            linewidth=0.8, label=label,
        )  # fmt: skip
    lower.axhspan(-2, 2, color=GREY, alpha=0.15, linewidth=0)
    lower.axhline(0, color=GREY, linewidth=0.8)
    widest = max([4.0, *(abs(np.asarray(line.get_ydata())).max() for line in _full(lower))])
    lower.set(xscale="log", xlabel=TIME_LABEL, ylabel="z-score", ylim=(-1.1 * widest, 1.1 * widest))
    lower.grid(alpha=0.25)
    lower.set_title("simulation minus mean field in standard errors (grey: within 2)", fontsize=10)
    _write(figure, path)


def _full(axes: Axes) -> list[Any]:
    return [line for line in axes.get_lines() if len(np.asarray(line.get_ydata())) > 2]


# ---------------------------------------------------------------------- parts


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure


def _write(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format=Path(path).suffix.lstrip(".") or "png")


def _title(what: str, problem: Problem) -> str:
    teacher, network = problem.teacher, problem.network
    parts = [
        f"sampling ratio {problem.sampling_ratio:g}",
        f"noise {problem.noise_std:g}",
        f"teacher {teacher.kind}"
        + (f" ({teacher.density:g})" if hasattr(teacher, "density") else ""),
    ]
    if isinstance(network, Diagonal):
        start = f"init {network.init_scale:g}" if network.init_u is None else "custom start"
        parts.append(f"depth {network.depth}, {start}")
    else:
        parts.append("linear network")
    if problem.features.kind != "isotropic":
        parts.append(f"features {problem.features.kind}")
    if problem.dynamics.weight_decay:
        parts.append(f"weight decay {problem.dynamics.weight_decay:g}")
    return f"{what}\n{', '.join(parts)}"


def _ensemble(simulation: Simulation) -> str:
    settings = simulation.settings
    runs = f"{settings.seeds} run" + ("s" if settings.seeds > 1 else "")
    return f"Simulation: d = {settings.dimension}, {runs}, {settings.design} design"


def _visible(time: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (time > 0) & (values > _VANISHED * np.max(values, initial=1e-300))


def _line(axes: Axes, time: np.ndarray, values: np.ndarray, colour: str, **style: Any) -> None:
    shown = _visible(time, values)
    axes.plot(time[shown], values[shown], color=colour, **style)


def _points(axes: Axes, simulation: Simulation, name: str, colour: str, label: str) -> None:
    values, error = getattr(simulation, name), getattr(simulation, f"{name}_stderr")
    shown = _visible(simulation.time, values)
    bars = None if error is None else _BAND * error[shown]
    axes.errorbar(
        simulation.time[shown], values[shown], yerr=bars, fmt="o", color=colour, markersize=3.5,
        markerfacecolor="white", capsize=2, linewidth=1, label=label,
    )  # fmt: skip


def _curves(axes: Axes, solution: Solution) -> None:
    for name, (label, colour) in CURVES.items():
        values, error = getattr(solution, name), getattr(solution, f"{name}_stderr")
        shown = _visible(solution.time, values)
        time = _dense(solution.time[shown])
        axes.plot(time, solution.curve_at(name, time), color=colour, linewidth=1.6, label=label)
        if error is not None:
            low = np.maximum(values - _BAND * error, 1e-3 * values)
            axes.fill_between(
                solution.time[shown], low[shown], (values + _BAND * error)[shown], color=colour,
                alpha=0.25, linewidth=0,
            )  # fmt: skip
    several = solution.excess_risk_stderr is not None
    _finish_curves(axes, "bands: ±2 standard errors" if several else "one replicate, no error bars")


def _dense(nodes: np.ndarray) -> np.ndarray:
    """Times for a smooth line: the nodes and a logarithmic grid between the first and the last."""
    if len(nodes) < 2:
        return nodes
    return np.union1d(nodes, np.clip(np.geomspace(nodes[0], nodes[-1], 300), nodes[0], nodes[-1]))


def _finish_curves(axes: Axes, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=TIME_LABEL, ylabel="mean squared error")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)


def _charge(axes: Axes, solution: Solution) -> None:
    axes.plot(solution.time[1:], solution.mean_charge[1:], color=GREEN, linewidth=1.6)
    axes.set(xscale="log", xlabel=TIME_LABEL, ylabel="$E[u^2 - v^2]$")
    axes.set_title("mean charge", fontsize=10)
    axes.grid(alpha=0.25)


def _sample_paths(axes: Axes, solution: Solution) -> None:
    paths = solution.paths
    axes.set_title("sample paths $w(t)$; dots at the end: teacher values", fontsize=10)
    axes.set(xscale="log", xlabel=TIME_LABEL, ylabel="weight $w$")
    axes.grid(alpha=0.25)
    if paths is None:
        return
    colours = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY]
    for number, (teacher, weights) in enumerate(zip(paths.teacher, paths.weights, strict=True)):
        colour = GREY if teacher == 0 else colours[number % len(colours)]
        axes.plot(solution.time[1:], weights[1:], color=colour, linewidth=0.9)
        axes.plot(solution.time[-1] * 1.15, teacher, "o", color=colour, markersize=4)


def _correlation(kernel: np.ndarray) -> np.ndarray:
    """A covariance divided by its standard deviations, NaN where they have vanished."""
    diagonal = np.diag(kernel)
    deviation = np.sqrt(np.where(diagonal > _VANISHED * diagonal.max(), diagonal, np.nan))
    return kernel / np.outer(deviation, deviation)


def _map(
    figure: Figure,
    axes: Axes,
    time: np.ndarray,
    values: np.ndarray,
    title: str,
    limit: float | None,
) -> None:
    """A kernel on logarithmic times; one colour scale for signs, centred at zero."""
    shown = time > 0
    kernel = values[np.ix_(shown, shown)]
    finite = np.abs(kernel[np.isfinite(kernel)])
    # A response has a few large entries close to the diagonal; they may saturate.
    top = limit or (float(np.quantile(finite, 0.99)) if finite.size else 1.0) or 1.0
    image = axes.pcolormesh(
        time[shown], time[shown], kernel, cmap="RdBu_r", vmin=-top, vmax=top, shading="nearest",
        rasterized=True,
    )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="$s$", ylabel="$t$", facecolor="#dddddd")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, extend="neither" if limit else "both")
