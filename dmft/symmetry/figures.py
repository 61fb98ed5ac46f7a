"""Figures of charges, of Noether flows along orbits, and of the balance of noise matrices.

Colours are those of `dmft.plotting`.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.plotting import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from dmft.symmetry.balance import NoiseMatrices
from dmft.symmetry.equilibrium import Equilibrium
from dmft.symmetry.models.two_layer import TwoLayerLinear
from dmft.symmetry.noether import Orbit
from dmft.symmetry.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
_STYLE = {
    "sgd": ("SGD", BLUE),
    "gd": ("gradient descent", VERMILION),
    "injected-noise": ("injected noise", GREEN),
    "checkpoints": ("checkpoints", BLUE),
}
_LINES = 12  # charges of a method that are drawn
_ROUNDING = 1e-17
_TOLD = ("step_size", "batch_size", "momentum", "weight_decay")  # of [training], in the title


def plot_report(report: Report, path: str | Path) -> None:
    """Charges of each method side by side; sharpness, loss and residual of all of them.

    Parameters
    ----------
    report : of `dmft symmetry track`.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    methods = list(dict.fromkeys(report.methods))
    lower = ["residual"] if report.loss is None else ["sharpness", "loss", "residual"]
    figure = _figure(4.6 * max(len(methods), len(lower)), 7.6)
    figure.suptitle(_title(report), fontsize=10)
    upper, below = figure.subfigures(2, 1, squeeze=False)[:, 0]
    charges = upper.subplots(1, len(methods), squeeze=False)[0]
    for axes, method in zip(charges, methods, strict=True):
        _draw_charges(axes, report, method)
    charges[0].set_ylabel("charge $\\theta^\\top A\\,\\theta$")
    # One key for all: the charges are the same.
    upper.legend(*charges[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    for axes, what in zip(below.subplots(1, len(lower), squeeze=False)[0], lower, strict=True):
        _draw_curves(axes, report, methods, what)
    figure.savefig(path, dpi=120)


def plot_orbit(orbit: Orbit, found: Equilibrium, path: str | Path) -> None:
    """The Noether flow of each charge along its own orbit through the equilibrium.

    Parameters
    ----------
    orbit, found : of `noise_equilibrium`.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    figure = _figure(7.5, 5.0)
    axes = figure.subplots()
    shown = [k for k, kind in enumerate(found.kinds) if kind != "undetermined"][: len(_COLOURS)]
    centre = np.where(np.isfinite(found.lam), found.lam, 0.0)
    reach = 2.0 * (np.abs(centre[shown]).max(initial=0.0) or 1.0)
    along = np.linspace(-reach, reach, 301)
    for k, colour in zip(shown, _COLOURS, strict=False):
        lam = np.tile(centre, (len(along), 1))
        lam[:, k] = along
        flow = orbit.flow(lam)[:, k]
        scale = abs(orbit.flow(np.where(np.arange(len(centre)) == k, 0.0, centre))[k]) or 1.0
        # Exponentials: compressed, so that the sign change is seen.
        axes.plot(along, np.arcsinh(flow / scale), color=colour, label=found.names[k])
        if found.kinds[k] == "finite":
            axes.plot(centre[k], 0.0, "o", color=colour, markersize=7)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.axvline(0.0, color=GREY, linewidth=0.8, linestyle=":")
    hidden = len(found.kinds) - len(shown)
    more = f", {len(shown)} of {len(found.kinds)} shown" if hidden else ""
    axes.set(
        xlabel="$\\lambda$ along the orbit $e^{\\lambda A}\\theta$ (0: the given point)",
        ylabel="arcsinh of $G(\\lambda) / |G(0)|$",
        title=f"Noether flow; dots: noise equilibrium{more}",
    )
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def plot_balance(
    model: TwoLayerLinear,
    matrices: NoiseMatrices,
    points: dict[str, np.ndarray],
    path: str | Path,
) -> None:
    """W Gamma_W W^T above U^T Gamma_U U, for several points side by side on one scale.

    Parameters
    ----------
    points : title and parameters (P,) of each column.
    path : file to write; its ending chooses the format (.png, .pdf, .svg).
    """
    sides = {title: matrices.sides(model, theta) for title, theta in points.items()}
    top = max(np.abs(side).max() for pair in sides.values() for side in pair)
    figure = _figure(3.4 * len(points) + 1.0, 6.6)
    grid = figure.subplots(2, len(points), squeeze=False)
    names = ("$W\\,\\Gamma_W W^\\top$", "$U^\\top \\Gamma_U\\, U$")
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=12)
    for column, (title, pair) in zip(grid.T, sides.items(), strict=True):
        mismatch = float(matrices.imbalance(model, points[title]))
        for axes, side in zip(column, pair, strict=True):
            image = axes.imshow(side, cmap="RdBu_r", vmin=-top, vmax=top)
            axes.set_xticks(range(model.hidden))
            axes.set_yticks(range(model.hidden))
            for (row, place), value in np.ndenumerate(side if model.hidden <= 5 else np.empty(0)):
                ink = "white" if abs(value) > 0.6 * top else "black"
                text = f"{value if abs(value) > 1e-9 * top else 0.0:.2g}"
                axes.text(place, row, text, ha="center", va="center", color=ink)
        column[0].set_title(f"{title}\nimbalance {100 * mismatch:.2g} %", fontsize=10)
        column[1].set_xlabel("hidden unit")
    figure.colorbar(image, ax=grid, label="covariance of gradients, contracted", shrink=0.8)
    figure.savefig(path, dpi=120)


def _draw_charges(axes: Axes, report: Report, method: str) -> None:
    label, _ = _STYLE[method]
    runs = report.of_method(method)
    count = len(report.names)
    # Whole runs where that can be, else some charges of the first one.
    chosen = np.unique(np.linspace(0, count - 1, min(count, _LINES)).round().astype(int))
    shown = [(run, int(k)) for run in runs[: max(1, _LINES // count)] for k in chosen]
    colours = _colours(len(report.names))
    for run, k in shown:
        axes.plot(report.step, report.charge[:, run, k], color=colours[k], linewidth=1.2)
        axes.plot(report.step, report.predicted[:, run, k], "--", color="black", linewidth=0.8)
    # Of many charges the colours go from the first to the last of those drawn.
    drawn = sorted({k for _, k in shown})
    for k in drawn if len(drawn) <= len(_COLOURS) else (drawn[0], drawn[-1]):
        axes.plot([], [], color=colours[k], label=report.names[k])
    axes.plot([], [], "--", color="black", label="predicted")
    axes.axhline(0.0, color=GREY, linewidth=0.7)
    axes.set_title(f"{label}: {len(shown)} of {len(runs) * count} charges", fontsize=10)
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=5)
    axes.grid(alpha=0.25)


def _colours(count: int) -> list[Any]:
    """A colour for each charge, none twice."""
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 0.92, count)))


def _title(report: Report) -> str:
    """What was trained and how, as far as the settings say."""
    model, training = (report.settings.get(name, {}) for name in ("model", "training"))
    told = {**model, **{key: training[key] for key in _TOLD if key in training}}
    words = (
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in told.items()
    )
    return textwrap.fill(", ".join(words), 110, break_on_hyphens=False)


def _draw_curves(axes: Axes, report: Report, methods: list[str], what: str) -> None:
    step = report.step
    if what == "residual":
        step = step[1:]  # at the first one it is zero by definition
        values = np.maximum(np.abs(report.residual[1:]).max(axis=-1), _ROUNDING)
        axes.set_title("charge minus prediction, over its scale", fontsize=10)
        axes.set_yscale("log")
    else:
        values = getattr(report, what)
        names = {"sharpness": "trace of the Hessian", "loss": "training loss"}
        axes.set_title(names[what], fontsize=10)
        if what == "loss" and values.min() > 0.0 and values.max() > 30.0 * values.min():
            axes.set_yscale("log")
    for method in methods:
        label, colour = _STYLE[method]
        lines = axes.plot(step, values[:, report.of_method(method)], color=colour, linewidth=1.1)
        lines[0].set_label(label)
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=5)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
