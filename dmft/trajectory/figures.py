"""Figures of trajectories: maps, angles, norms, spectra, the path, similarity of groups.

Colours and conventions are those of `dmft.plotting`: bars are two standard errors to either side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.plotting import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, TIME_LABEL, VERMILION
from dmft.plotting.style import axes_for
from dmft.trajectory.measures import Map, Trajectory
from dmft.trajectory.report import Group, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
_BARS = 2.0
_LABELLED = 40  # groups that get a line of their own with their name
_EIGENVALUES = 30
_LOGARITHMIC = 30.0  # ratio of steps above which their axis is logarithmic
_VANISHED = 1e-14  # of the largest eigenvalue: what is below is rounding


def plot_report(report: Report, path: str | Path) -> None:
    """Trajectory map, relative map, angles, norms, spectra, principal path and the groups.

    Parameters
    ----------
    report : of `dmft trajectory map`.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    trajectory = report.path
    rows = min(len(report.groups), _LABELLED)
    below = 1.0 + 0.22 * rows if rows else 0.0
    figure = _figure(14.0, 8.0 + below)
    figure.suptitle(_title(report))
    parts = figure.subfigures(2 if rows else 1, 1, squeeze=False, height_ratios=(
        [8.0, below] if rows else [8.0]
    ))[:, 0]  # fmt: skip
    axes = parts[0].subplots(2, 3)
    maps = report.maps()
    _draw_map(axes[0, 0], trajectory, maps["map"], "trajectory map", "cosine of checkpoints")
    if _same(maps["map"], maps["relative_map"]):
        axes[0, 1].set_title("map relative to the start", fontsize=10)
        words = "the run starts at zero:\nthis is the map on the left"
        axes[0, 1].text(0.5, 0.5, words, transform=axes[0, 1].transAxes, ha="center")
        axes[0, 1].set_axis_off()
    else:
        _draw_map(
            axes[0, 1], trajectory, maps["relative_map"], "map relative to the start",
            "cosine of distances from the start",
        )  # fmt: skip
    _draw_path(axes[0, 2], trajectory)
    _draw_angles(axes[1, 0], trajectory)
    _draw_norms(axes[1, 1], trajectory)
    _draw_spectra(axes[1, 2], [trajectory], [""])
    if rows:
        _draw_groups(parts[1].subplots(), report)
    figure.savefig(path, dpi=130)


def plot_map(trajectory: Trajectory, origin: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the trajectory map, the cosines between all checkpoints, with a labelled colour bar.

    Axes are in steps, or in units of the flow where times are not whole.

    Parameters
    ----------
    trajectory : of `of_checkpoints`, `of_arrays(...)` or `Solution.trajectory_map()`.
    origin : number of the checkpoint that others are seen from, as in `Trajectory.map`; of a
        start at zero the map is the same.
    ax : matplotlib axes to draw into; new ones by default.

    Raises
    ------
    InputError : an origin that is no checkpoint, or no vector that has a direction.
    """
    found = trajectory.map(origin)
    axes = axes_for(ax)
    title, label = "trajectory map", "cosine of checkpoints"
    if origin is not None:
        title = f"map relative to checkpoint {origin}"
        label = f"cosine of distances from checkpoint {origin}"
    _draw_map(axes, trajectory, found, title, label)
    return axes


def plot_comparison(
    first: Report, second: Report, names: tuple[str, str], path: str | Path
) -> None:
    """The maps and measures of two trajectories, their angles, distances and spectra.

    Parameters
    ----------
    first, second : of `dmft trajectory map`.
    names : what to call them.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    figure = _figure(14.0, 8.0)
    axes = figure.subplots(2, 3)
    runs = (first.path, second.path)
    for place, report, name in zip(axes[0], (first, second), names, strict=False):
        found = report.maps()["map"]
        _draw_map(place, report.path, found, f"trajectory map of {name}", "cosine of checkpoints")
    _draw_similarities(axes[0, 2], runs, names)
    for run, name, colour in zip(runs, names, _COLOURS, strict=False):
        step = run.step
        axes[1, 0].plot(step[1:-1], run.curves["update_angle"], color=colour, label=name)
        axes[1, 1].plot(step, run.curves["distance"], color=colour, label=name)
    axes[1, 0].set(title="angle between consecutive updates", ylabel="degrees")
    axes[1, 1].set(title="distance from the start", ylabel="distance")
    for place in axes[1, :2]:
        _finish(place, np.concatenate([run.step for run in runs]))
    _draw_spectra(axes[1, 2], runs, names)
    figure.savefig(path, dpi=130)


def _same(first: Map, second: Map) -> bool:
    """Whether two maps show the same, as where w(0) = 0."""
    if not np.array_equal(first.points, second.points):
        return False
    return len(first.points) > 1 and np.allclose(first.values, second.values, atol=1e-9)


def _draw_map(axes: Axes, path: Trajectory, found: Map, title: str, label: str) -> None:
    axes.set_title(title, fontsize=10)
    if len(found.points) < 2:
        axes.text(0.5, 0.5, "nothing moves", transform=axes.transAxes, ha="center")
        return
    step = path.step[found.points]
    low = float(found.values.min())
    signed = low < -0.05
    image = axes.pcolormesh(
        step, step, found.values, shading="nearest", rasterized=True,
        cmap="RdBu_r" if signed else "viridis", vmin=-1.0 if signed else low, vmax=1.0,
    )  # fmt: skip
    if _logarithmic(step):
        axes.set(xscale="log", yscale="log")
    elif step[0] == 0.0 and _logarithmic(step[1:]):
        # Linear from zero to the first later step.
        axes.set_xscale("symlog", linthresh=step[1], linscale=0.3)
        axes.set_yscale("symlog", linthresh=step[1], linscale=0.3)
    axes.set(xlabel=_label(path.step), ylabel=_label(path.step))
    # On square axes the diagonal is one.
    axes.set_box_aspect(1.0)
    axes.figure.colorbar(image, ax=axes, label=label)


def _draw_path(axes: Axes, path: Trajectory) -> None:
    points = path.principal_path()
    variance = path.spectra["centred"]
    share = variance / (variance.sum() or 1.0)
    colours = np.linspace(0.0, 1.0, len(points))
    axes.plot(*points.T, color=GREY, linewidth=0.8)
    axes.scatter(points[:, 0], points[:, 1], c=colours, cmap="viridis", s=18, zorder=3)
    axes.plot(*points[0], "o", color=VERMILION, markersize=9, fillstyle="none", label="start")
    axes.plot(*points[-1], "s", color=VERMILION, markersize=9, fillstyle="none", label="end")
    axes.set_title("principal components of the path", fontsize=10)
    axes.set(
        xlabel=f"component 1 ({100 * share[0]:.0f} % of the variance)",
        ylabel=f"component 2 ({100 * share[1]:.0f} %)",
    )
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)


def _draw_angles(axes: Axes, path: Trajectory) -> None:
    curves, step = path.curves, path.step
    lines = (
        ("update_angle", step[1:-1], "between consecutive updates"),
        ("start_angle", step[2:], "of neighbours seen from the start"),
        ("origin_angle", step[1:], "of neighbours seen from zero"),
    )
    for (name, at, label), colour in zip(lines, _COLOURS, strict=False):
        axes.plot(at, curves[name], ".-", color=colour, label=label, linewidth=1.2, markersize=4)
    axes.axhline(90.0, color=GREY, linewidth=0.7)
    axes.set(title="angles", ylabel="degrees", ylim=(0.0, None))
    _finish(axes, step)


def _draw_norms(axes: Axes, path: Trajectory) -> None:
    curves, step = path.curves, path.step
    lines = (
        ("norm", step, "norm of the checkpoint"),
        ("distance", step, "distance from the start"),
        ("path_length", step, "length of the path"),
        ("update_norm", step[1:], "norm of the update"),
    )
    for (name, at, label), colour in zip(lines, _COLOURS, strict=False):
        shown = curves[name] > 0.0
        axes.plot(at[shown], curves[name][shown], color=colour, label=label, linewidth=1.4)
    axes.set(title="norms and lengths", yscale=_scale_of(axes), ylabel="norm")
    _finish(axes, step)


def _draw_spectra(
    axes: Axes, runs: tuple[Trajectory, ...] | list[Trajectory], names: object
) -> None:
    for run, name, colour in zip(runs, names, _COLOURS, strict=False):  # type: ignore[call-overload]
        for (kind, values), marker in zip(run.spectra.items(), "os", strict=True):
            share = values[:_EIGENVALUES] / (values.sum() or 1.0)
            share = share[share > _VANISHED]
            axes.plot(
                np.arange(1, len(share) + 1), share, marker=marker, markersize=3.5, linewidth=1.0,
                color=colour, fillstyle="none" if kind == "centred" else "full",
                label=f"{name} {kind}".strip(),
            )  # fmt: skip
    axes.set_title("spectrum of the kernel", fontsize=10)
    axes.set(yscale=_scale_of(axes), xlabel="rank", ylabel="share of the sum")
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)


def _draw_groups(axes: Axes, report: Report) -> None:
    """Similarity of every group with its bar; projections by colour, and the whole as a line."""
    groups = [g for g in report.groups if g.scalars["mean_directional_similarity"][0] is not None]
    shown = groups[:_LABELLED]
    place = np.arange(len(shown))[::-1]
    for kind in dict.fromkeys(map(_kind, shown)):
        chosen = [i for i, group in enumerate(shown) if _kind(group) == kind]
        pairs = [shown[i].scalars["mean_directional_similarity"] for i in chosen]
        value = np.array([pair[0] for pair in pairs], dtype=float)
        error = np.array([pair[1] or 0.0 for pair in pairs])
        colour = _COLOURS[{"query": 0, "key": 1, "value": 2}.get(kind, 0)]
        axes.errorbar(
            value, place[chosen], xerr=_BARS * error, fmt="o", color=colour, markersize=4,
            label=kind or None,
        )  # fmt: skip
    whole = report.path.scalars["mean_directional_similarity"][0]
    if whole is not None:
        axes.axvline(whole, color=GREY, linewidth=1.0, label="all parameters")
    axes.set_yticks(place, [group.name for group in shown], fontsize=8)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.set_xlabel("mean directional similarity (bars: ±2 standard errors)")
    more = f", the first {len(shown)} of {len(groups)}" if len(groups) > len(shown) else ""
    axes.set_title(f"similarity per {report.grouping}{more}", fontsize=10)
    axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(alpha=0.25)


def _draw_similarities(axes: Axes, runs: tuple[Trajectory, ...], names: tuple[str, ...]) -> None:
    measures = [
        "mean_directional_similarity", "off_diagonal_similarity", "time_similarity",
        "length_similarity", "relative_similarity", "straightness",
    ]  # fmt: skip
    place = np.arange(len(measures))[::-1]
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
        pairs = [run.scalars[measure] for measure in measures]
        known = [i for i, pair in enumerate(pairs) if pair[0] is not None]
        value = np.array([pairs[i][0] for i in known], dtype=float)
        error = np.array([pairs[i][1] or 0.0 for i in known])
        axes.errorbar(
            value, place[known] + 0.15 - 0.3 * number, xerr=_BARS * error, fmt="os"[number],
            color=_COLOURS[number], label=name, capsize=3,
        )  # fmt: skip
    axes.set_yticks(place, [measure.replace("_", " ") for measure in measures], fontsize=9)
    axes.set_xlabel("value (bars: ±2 standard errors)")
    axes.set_title("measures", fontsize=10)
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)


def _kind(group: Group) -> str:
    return next((word for word in ("query", "key", "value") if f" {word}" in group.name), "")


def _finish(axes: Axes, step: np.ndarray) -> None:
    if _logarithmic(step[step > 0]):
        axes.set_xscale("log")
    axes.set_xlabel(_label(step))
    axes.title.set_fontsize(10)
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)


def _label(step: np.ndarray) -> str:
    """Steps are whole, times of a flow are not."""
    return "step" if (step == np.round(step)).all() else TIME_LABEL


def _scale_of(axes: Axes) -> str:
    """Logarithmic, unless all that is positive is nothing."""
    return "log" if any(np.size(line.get_xdata()) for line in axes.lines) else "linear"


def _logarithmic(step: np.ndarray) -> bool:
    """Whether the steps are spread over decades: the second is early, and all are positive."""
    if len(step) < 3 or step.min() <= 0.0:
        return False
    return bool(step[-1] / step[0] > _LOGARITHMIC and np.median(step) < 0.35 * step[-1])


def _title(report: Report) -> str:
    value, error = report.path.scalars["mean_directional_similarity"]
    what = f"{len(report.path.step)} checkpoints"
    if report.path.parameters:
        what += f" of {report.path.parameters:,} parameters"
    if report.source:
        what += f" in {Path(report.source).name}"
    if value is not None:
        what += f", mean directional similarity {value:.4g}"
        what += "" if error is None else f" ± {error:.1g}"
    return what


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
