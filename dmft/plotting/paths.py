"""Sample paths of the effective process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.plotting.style import GREY, finish_time, time_scale
from dmft.results.simulation import Simulation
from dmft.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PATHS_OF_A_KIND = 8


def has_paths(result: Solution | Simulation) -> bool:
    """Whether there are sample paths: those of a solution that kept them."""
    return isinstance(result, Solution) and result.paths is not None


def draw_paths(axes: Axes, solution: Solution) -> None:
    """A few weights over time, each with its teacher value at the end."""
    from matplotlib import colormaps

    scale = time_scale(solution.time)
    finish_time(axes, solution.problem, scale)
    axes.set_ylabel("weight $w$")
    axes.set_title("sample paths of the effective process", fontsize=10)
    paths = solution.paths
    if paths is None:
        axes.text(0.5, 0.5, "not stored", transform=axes.transAxes, ha="center")
        return
    zero = paths.teacher == 0.0
    order = np.argsort(paths.teacher, kind="stable")
    of_zero, others = (_spread(order[kind[order]]) for kind in (zero, ~zero))
    # As many colours as paths: none is used twice.
    colours = colormaps["viridis"](np.linspace(0.0, 0.92, max(len(others), 1)))
    shown = solution.time > 0.0 if scale == "log" else solution.time >= 0.0
    end = solution.time[-1]
    beside = 1.6 * end if scale == "log" else 1.04 * end
    drawn: list[tuple[int, Any, float]] = [(index, GREY, 0.6) for index in of_zero]
    drawn += [(index, tuple(colour), 1.0) for index, colour in zip(others, colours, strict=False)]
    for index, colour, alpha in drawn:
        axes.plot(
            solution.time[shown], paths.weights[index, shown], color=colour, linewidth=1.0,
            alpha=alpha,
        )  # fmt: skip
        axes.plot(beside, paths.teacher[index], "D", color=colour, markersize=4.5)
    axes.set_xlim(right=2.2 * end if scale == "log" else 1.08 * end)
    marks = [axes.plot([], [], "D", color="black", markersize=4.5, label="teacher value $w^*$")[0]]
    if zero.any():
        marks.append(axes.plot([], [], color=GREY, label="$w^* = 0$")[0])
    axes.legend(handles=marks, fontsize=9, loc="best")


def _spread(indices: np.ndarray) -> np.ndarray:
    """A few of the indices, evenly spaced."""
    count = min(len(indices), _PATHS_OF_A_KIND)
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]
