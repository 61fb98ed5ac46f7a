"""Pictures of the race and of the growth of work, from results as the ledger keeps them."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.plotting import BLUE, GREEN, GREY, PURPLE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dmft.bench.ledger import Record

STYLES = {
    "mean-field": ("this solver", BLUE, "o"),
    "classical": ("classical algorithm", VERMILION, "s"),
    "ensemble": ("ensemble of finite networks", GREEN, "^"),
}
# Hollow, of two sizes: curves that coincide stay visible.
_COUNTERS = {
    "nodes": ("nodes", GREY, "D", 9),
    "sweeps": ("sweeps", PURPLE, "v", 5),
    "tangent_flops": ("operations on tangents", BLUE, "o", 9),
    "tangent_bytes": ("bytes of tangents read", VERMILION, "s", 4),
}

_CENTURY = 3.16e9  # seconds
_VARIED = (
    ("by_time", "t_max", "final time (units of the flow)"),
    ("by_paths", "n_paths", "paths"),
    ("by_tolerance", "rtol", "rtol"),
)


def draw_race(results: Record, path: Path) -> None:
    """Error against CPU seconds, one panel for each problem."""
    from matplotlib.figure import Figure

    count = len(results)
    columns = min(2, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.6 * columns, 4.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, result) in zip(panels, results.items(), strict=False):
        for contestant, outcome in result["contestants"].items():
            _draw_outcome(axes, outcome, *STYLES[contestant])
        for target in result["contestants"]["mean-field"]["reached"]:
            axes.axhline(float(target), color=GREY, linewidth=0.7, linestyle=":")
            axes.annotate(
                f"{float(target):.2g}", (0.995, float(target)), xycoords=("axes fraction", "data"),
                ha="right", va="bottom", fontsize=7, color=GREY,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="CPU seconds")
        _end_at_a_century(axes, result["contestants"])
        # Names of several curves are longer than a panel is high.
        axes.set_ylabel(fill(f"relative error of {result['curve']} (rms)", 40))
        axes.set_title(f"{name}: {result['title']}", fontsize=9)
        axes.grid(alpha=0.3)
    for axes in panels[count:]:
        axes.set_axis_off()
    panels[0].legend(
        fontsize=7, loc="upper right", title="dashed, hollow: by its law", title_fontsize=7
    )
    figure.savefig(path, dpi=110)


def _end_at_a_century(axes: Axes, contestants: dict[str, Any]) -> None:
    """Leave out times that nobody waits for; what a law says of them stands at the edge."""
    if axes.get_xlim()[1] <= _CENTURY:
        return
    axes.set_xlim(right=_CENTURY)
    for contestant, outcome in contestants.items():
        _, colour, _ = STYLES[contestant]
        for target, rung in outcome["reached"].items():
            if rung["seconds"] > _CENTURY:
                years = float(f"{rung['seconds'] / (_CENTURY / 100.0):.0e}")
                axes.annotate(
                    f"{years:,.0f} years \u2192", (0.995, float(target)), (0, -3),
                    xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
                    va="top", fontsize=7, color=colour,
                )  # fmt: skip


def _draw_outcome(
    axes: Axes, outcome: dict[str, Any], label: str, colour: str, marker: str
) -> None:
    rungs = [rung for rung in outcome["rungs"] if np.isfinite(rung["error"])]
    axes.errorbar(
        [rung["seconds"] for rung in rungs],
        [rung["error"] for rung in rungs],
        [2.0 * np.nan_to_num(rung["stderr"]) for rung in rungs],
        fmt=marker, color=colour, markersize=3, alpha=0.55, elinewidth=0.8, linestyle="none",
        label=label,
    )  # fmt: skip
    if outcome["curve"]:
        axes.plot(*zip(*outcome["curve"], strict=True), "--", color=colour, linewidth=1)
    for target, rung in outcome["reached"].items():
        face = colour if rung["measured"] else "white"
        axes.plot(
            rung["seconds"], float(target), marker, color=colour, markersize=8,
            markerfacecolor=face, markeredgecolor=colour,
        )  # fmt: skip


def draw_growth(result: Record, path: Path) -> None:
    """Counters against final time, paths and tolerance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 4.0), layout="constrained")
    axes = figure.subplots(1, 3)
    for place, (part, variable, label) in zip(axes, _VARIED, strict=True):
        rows = result[part]
        x = [row[variable] for row in rows]
        # Panels grow with log time, so nodes and sweeps stand on a linear axis there.
        shown = ("nodes", "sweeps") if part == "by_time" else tuple(_COUNTERS)
        for counter in shown:
            name, colour, marker, size = _COUNTERS[counter]
            first = 1.0 if part == "by_time" else rows[0][counter]
            y = [row[counter] / first for row in rows]
            style = {"marker": marker, "markersize": size, "fillstyle": "none", "color": colour}
            place.plot(x, y, linewidth=1, label=name, **style)
        place.set(xscale="log", xlabel=label)
        place.set_xticks(x, [f"{value:g}" for value in x])
        place.set_xticks([], minor=True)
        place.grid(alpha=0.3)
        place.legend(fontsize=8)
        if part != "by_time":
            place.set(yscale="log", ylabel="relative to the least")
            place.yaxis.set_major_formatter("{x:g}")
            place.yaxis.set_minor_formatter("{x:g}")
    axes[0].set(ylabel="count (pilot and one replicate)", ylim=(0.0, None))
    large = f"paths and rtol: the same from {result['large_start']:g} to t = 100"
    figure.suptitle(f"{result['case']}; {large}", fontsize=10)
    figure.savefig(path, dpi=110)
