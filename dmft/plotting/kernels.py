"""Two-time kernels as maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmft.errors import InputError
from dmft.plotting.style import VANISHED, axes_for, time_scale
from dmft.problem import Problem
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KERNELS = (
    "correlation_error", "correlation_residual", "overlap", "response_weights", "response_residual",
)  # fmt: skip
_SATURATED = 0.995  # quantile of a response above which its colours saturate
_MOVED = 0.01  # of the largest change of a kernel: before, it counts as flat


def plot_kernel(result: Solution | Simulation, name: str, ax: Axes | None = None) -> Axes:
    """Draw a two-time kernel as a map, with a labelled colour bar.

    The correlation of residuals is divided by its standard deviations, which fall by decades;
    responses are densities, blank where they have no pointwise meaning. On logarithmic axes a start
    at which nothing moves is cut to one decade.

    Parameters
    ----------
    result : a solution or a simulation.
    name : correlation_error, correlation_residual, overlap, response_weights or response_residual.
    ax : matplotlib axes to draw into; new ones by default, `ax.figure.savefig` writes them.

    Raises
    ------
    InputError : another name, or a kernel that the result does not hold.
    """
    there = [each for each in KERNELS if getattr(result.kernels, each) is not None]
    if name not in there:
        raise InputError(f"given '{name}', allowed: {', '.join(there)}", "name")
    values, title, label = _kernel(result, name)
    axes = axes_for(ax)
    draw_map(axes, result.time, values, title, label, result.problem)
    if axes.get_xscale() == "log":
        start = first_change(result.time, result.kernels.correlation_error)
        axes.set(xlim=(start, result.time[-1]), ylim=(start, result.time[-1]))
    return axes


def _kernel(result: Solution | Simulation, name: str) -> tuple[np.ndarray, str, str]:
    """Values, title and label."""
    values: np.ndarray = getattr(result.kernels, name)
    network = isinstance(result, Simulation)
    if name == "correlation_error":
        return values, "error correlation", "$C_w(t, s)$"
    if name == "overlap":
        label = "$w(t) \\cdot w(s) / d$" if network else "$E[w(t)\\, w(s)]$"
        return values, "overlap of the weights", label
    if name == "correlation_residual":
        diagonal = np.diag(values)
        start = np.max(diagonal, initial=0.0)
        deviation = np.sqrt(np.where(diagonal > VANISHED * start, diagonal, np.nan))
        label = "$C_r(t, s) \\, / \\, \\sqrt{C_r(t, t)\\, C_r(s, s)}$"
        return values / np.outer(deviation, deviation), "residual correlation", label
    assert isinstance(result, Solution) and result.kernels.quadrature_weights is not None
    weights = result.kernels.quadrature_weights
    # Inside a panel the nodes are coupled and R has no pointwise meaning: left blank, and so is the
    # future, to which nothing responds.
    meaningless = (result.panel[:, None] <= result.panel) | (weights <= 0)
    density = values / np.where(meaningless, np.nan, weights)
    unit = "step" if result.problem.dynamics.discrete else "unit time"
    if name == "response_weights":
        words = "response of the weights at t to a force at s"
        return density, words, f"$R_w(t, s)$ per {unit}"
    return density, "response of the residual at t to a field at s", f"$R_r(t, s)$ per {unit}"


def first_change(time: np.ndarray, kernel: np.ndarray) -> float:
    """The first time to show: where the diagonal has moved, but a decade at least."""
    later = time[time > 0.0]
    diagonal = np.diag(kernel)[time > 0.0]
    change = np.abs(diagonal - diagonal[0])
    moved = np.flatnonzero(change > _MOVED * change.max())
    start = later[max(moved[0] - 1, 0)] if len(moved) else later[0]
    return float(min(start, max(later[-1] / 10.0, later[0])))


def draw_map(
    axes: Axes, time: np.ndarray, values: np.ndarray, title: str, label: str, problem: Problem
) -> None:
    """A kernel over times; signs, if there are two, by a diverging colour map."""
    scale = time_scale(time)
    later = time > 0.0 if scale == "log" else time >= 0.0
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
    axes.set(xscale=scale, yscale=scale, facecolor="white")
    unit = "step" if problem.dynamics.discrete else "time"
    flow = "" if problem.dynamics.discrete else " (units of the flow)"
    axes.set(xlabel=f"{unit} s{flow}", ylabel=f"{unit} t{flow}")
    axes.set_title(title, fontsize=10)
    axes.figure.colorbar(image, ax=axes, label=label, extend=extend if saturates else "neither")
