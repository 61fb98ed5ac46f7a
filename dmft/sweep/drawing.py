"""Parts of the figures of collections: maps, axes, labels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.config import changed_settings, parse_config
from dmft.errors import InputError
from dmft.plotting import GREY, VERMILION
from dmft.plotting.style import time_label
from dmft.sweep.collection import Collection
from dmft.validation import nearest_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLE = 80  # characters of a line
_MOST_LABELS = 6  # above which ticks are at round numbers
_WIDE = 30.0  # ratio of largest to smallest above which an axis or a colour is logarithmic
_WORDS = {
    "excess_risk": "excess risk",
    "train_mse": "training mean squared error",
    "mean_charge": "mean charge",
    "effective_alpha": "effective alpha",
    "wall_seconds": "wall-clock seconds",
    "cpu_seconds": "CPU seconds",
}


def label_of(name: str) -> str:
    """A name of a value in words."""
    task, curve, end = "", name, ""
    if "final_" in name:
        task, _, curve = name.partition("final_")
        end = " at the end"
    words = _WORDS.get(curve, curve.replace("_", " ")) + end
    return f"{words}, {task.rstrip('_')}" if task else words


def problem_of(collection: Collection) -> str:
    """What all points have in common, in lines that fit: the problem, and where it ends."""
    changed = changed_settings(collection.config)
    words = [
        f"{name.partition('.')[2] if name.startswith('problem.') else name} = {short(value)}"
        for name, value in changed.items()
        if name.startswith(("problem.", "dynamics.", "solver.t_max"))
    ]
    text = ", ".join(words) or "the defaults"
    return textwrap.fill(f"At all points: {text}", _TITLE, break_on_hyphens=False)


def time_label_of(collection: Collection) -> str:
    """Steps where all points count them, else time."""
    return time_label(parse_config(collection.config).problem)


def labels_of(collection: Collection, name: str) -> np.ndarray:
    """Labels along a dimension."""
    return collection.coordinates[name][1]


def draw_map(
    axes: Axes,
    collection: Collection,
    x: str,
    y: str,
    values: np.ndarray,
    states: np.ndarray,
    colours: Any,
) -> Any:
    """Cells around the labels; rows are y."""
    axes.set_facecolor("white")
    across, up = (positions(collection, name) for name in (x, y))
    edges_x, edges_y = (_edges(collection, name) for name in (x, y))
    axes.fill_between(
        edges_x[[0, -1]], *edges_y[[0, -1]], facecolor="none", edgecolor="#bbbbbb", hatch="////",
        linewidth=0,
    )  # fmt: skip
    image = axes.pcolormesh(
        edges_x, edges_y, np.ma.masked_invalid(values), cmap="viridis", norm=colours
    )
    for state, marker in (("failed", "x"), ("unreadable", "x"), ("not-converged", "o")):
        rows, columns = np.nonzero(states == state)
        if len(rows):
            axes.plot(
                across[columns], up[rows], marker, color=VERMILION, markersize=6,
                markerfacecolor="none", linestyle="none",
            )  # fmt: skip
    scale_axis(axes, collection, x, "x")
    scale_axis(axes, collection, y, "y")
    axes.set_xlim(edges_x[0], edges_x[-1])
    axes.set_ylim(edges_y[0], edges_y[-1])
    return image


def colours_of(values: np.ndarray) -> Any:
    """The colours of all panels together; None if nothing is finite."""
    from matplotlib.colors import LogNorm, Normalize

    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return LogNorm(low, high) if is_wide(values) else Normalize(low, high)


def explain_states(figure: Figure, status: np.ndarray) -> None:
    """Say under the panels what the marks in them mean."""
    words = {
        "missing": "hatched: no result",
        "failed": "×: failed",
        "not-converged": "○: not converged",
    }
    there = [text for state, text in words.items() if (status == state).any()]
    if there:
        figure.supxlabel(", ".join(there), fontsize=9, color=GREY)


def _is_text(collection: Collection, name: str) -> bool:
    return labels_of(collection, name).dtype.kind not in "iuf"


def positions(collection: Collection, name: str) -> np.ndarray:
    """Labels, or their numbers if they are text."""
    labels = labels_of(collection, name)
    return np.arange(len(labels)) if _is_text(collection, name) else labels.astype(float)


def _is_log(collection: Collection, name: str) -> bool:
    return not _is_text(collection, name) and is_wide(labels_of(collection, name))


def is_wide(values: np.ndarray) -> bool:
    """Whether values ask for a logarithmic scale."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return bool(len(finite) and finite.min() > 0.0 and finite.max() > _WIDE * finite.min())


def _edges(collection: Collection, name: str) -> np.ndarray:
    """Boundaries of the cells around increasing labels, halfway between them."""
    places = positions(collection, name)
    if len(places) > 1 and not (np.diff(places) > 0).all():
        raise InputError("its values do not increase, a map needs that", name)
    places = np.log(places) if _is_log(collection, name) else places
    if len(places) == 1:
        edges = places[0] + np.array([-0.5, 0.5])
    else:
        middle = (places[1:] + places[:-1]) / 2.0
        first, last = 2 * places[0] - middle[0], 2 * places[-1] - middle[-1]
        edges = np.concatenate([[first], middle, [last]])
    return np.exp(edges) if _is_log(collection, name) else edges


def scale_axis(axes: Axes, collection: Collection, name: str, which: str) -> None:
    """Scale, ticks and name of an axis."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if _is_log(collection, name):
        axes.set(**{f"{which}scale": "log"})
    labels = [short(label) for label in labels_of(collection, name)]
    if _is_text(collection, name) or len(labels) <= _MOST_LABELS:
        axis.set_ticks(positions(collection, name), labels)
        axis.set_ticks([], minor=True)
    axis.set_label_text(words_of(name))


def words_of(name: str | None) -> str:
    """A name without underscores."""
    return (name or "").replace("_", " ")


def short(label: Any) -> str:
    """A label that fits beside a tick."""
    text = f"{label:.4g}" if isinstance(label, int | float | np.number) else str(label)
    return text if len(text) <= 24 else text[:21] + "..."


def gradient(number: int, count: int) -> Any:
    """The colour of one line among many."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * number / max(1, count - 1))


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def write_figure(figure: Figure, path: str | Path) -> None:
    """Save; the ending of the name chooses the format."""
    figure.savefig(path, format=Path(path).suffix.lstrip(".").lower() or "png")


def abscissa(collection: Collection, x: str | None, fixed: Mapping[str, Any]) -> tuple[str, str]:
    """What runs across, any axis, and the dimension along which it does."""
    if x in collection.coordinates:
        return str(x), collection.coordinates[str(x)][0]
    along = dimension_of(collection, x) if x else longest(collection, fixed)
    return along, along


def dimension_of(collection: Collection, name: str) -> str:
    """The name of a dimension, refused if it is none."""
    if name not in collection.dimensions:
        raise InputError(nearest_key(name, list(collection.dimensions)), name)
    return name


def longest(collection: Collection, fixed: Mapping[str, Any]) -> str:
    """The dimension with most labels that is not fixed."""
    free = [name for name in collection.dimensions if name not in fixed]
    if not free:
        raise InputError("given for every dimension, nothing is left to draw", "--at")
    return max(free, key=lambda name: len(labels_of(collection, name)))
