"""Figures of collections: phase diagrams, lines with error bars, learning curves.

Points without a result are hatched or left out of lines, never filled in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.plotting import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, TIME_LABEL, VERMILION
from dmft.store.hdf5 import reading
from dmft.sweep.collect import Collection
from dmft.validation import nearest_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
_MARKERS = "osD^vP*"
_MOST_PANELS = 12
_MOST_LINES = 7
_MOST_LABELS = 6  # above which ticks are at round numbers
_WIDE = 30.0  # ratio of largest to smallest above which an axis or a colour is logarithmic
_WORDS = {
    "excess_risk": "excess risk",
    "train_mse": "training error",
    "mean_charge": "mean charge",
}

Selection = Mapping[str, Any]


def plot_map(
    collection: Collection,
    path: str | Path,
    value: str = "final_excess_risk",
    x: str | None = None,
    y: str | None = None,
    at: Selection | None = None,
) -> None:
    """Phase diagram: a value over two dimensions, a panel for each combination of the others.

    Parameters
    ----------
    path : file to write; its ending chooses the format.
    value : of `collection.values`.
    x, y : dimensions of the axes; by default the first two with several points.
    at : labels of other dimensions, to draw one panel instead of all.

    Raises
    ------
    InputError : an unknown value, dimension or label, or fewer than two dimensions.
    """
    value = _full_name(collection, value)
    values = collection.values[value]
    x, y = _two_dimensions(collection, x, y, at or {})
    _check_free(at or {}, x, y)
    panels = list(_panels(collection, {x, y}, at or {}))
    shown = panels[:_MOST_PANELS]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    title = label_of(value)
    if len(panels) > len(shown):
        title += f" (the first {len(shown)} of {len(panels)} panels)"
    figure = _figure(1.0 + 4.6 * columns, 0.8 + 3.9 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = _colours(values)
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    order = [name for name in collection.dimensions if name in (x, y)]
    for axes, (name, index) in zip(grid.flat, shown, strict=False):
        part, states = values[index], collection.status[index]
        if order[0] == x:
            part, states = part.T, states.T
        image = _draw_map(axes, collection, x, y, part, states, colours)
        axes.set_title(name, fontsize=9)
    if colours is not None:
        figure.colorbar(image, ax=grid, label=label_of(value))
    _explain_states(figure, collection.status)
    _write(figure, path)


def plot_lines(
    collection: Collection,
    path: str | Path,
    value: str = "final_excess_risk",
    x: str | None = None,
    by: str | None = None,
    at: Selection | None = None,
) -> None:
    """A value over one dimension with bars of two standard errors, a line for each label of `by`.

    Dimensions that are neither, nor in `at`, are taken at their first label.

    Raises
    ------
    InputError : an unknown value, dimension or label.
    """
    value = _full_name(collection, value)
    values = collection.values[value]
    errors = collection.values.get(f"{value}_stderr")
    fixed = dict(at or {})
    x = _dimension(collection, x) if x else _longest(collection, fixed)
    others = [d for d in collection.dimensions if d not in (x, *fixed)]
    others = [name for name in others if len(_axis(collection, name)) > 1]
    by = _dimension(collection, by) if by else next(iter(others), None)
    if by == x:
        raise InputError(f"given '{by}' twice, must be two dimensions", "by")
    _check_free(fixed, x, by)
    for name in collection.dimensions:
        if name not in (x, by, *fixed):
            fixed[name] = _axis(collection, name)[0]
    figure = _figure(7.5, 5.0, "")
    axes = figure.subplots()
    labels = [None] if by is None else list(_some(_axis(collection, by)))
    for number, label in enumerate(labels):
        chosen = fixed if label is None else {**fixed, str(by): label}
        [(_, index)] = _panels(collection, {x}, chosen)
        bars = None if errors is None else 2.0 * errors[index]
        axes.errorbar(
            _positions(collection, x), values[index], yerr=bars, capsize=2, linewidth=1.2,
            color=_COLOURS[number % len(_COLOURS)], marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5, markerfacecolor="white",
            label=None if label is None else f"{_words(by)} = {_short(label)}",
        )  # fmt: skip
    _scale_axis(axes, collection, x, "x")
    if _wide(values):
        axes.set_yscale("log")
    axes.set_ylabel(label_of(value))
    words = [f"{_words(name)} = {_short(label)}" for name, label in fixed.items()]
    bars_words = ["bars: ±2 standard errors"] if errors is not None else []
    axes.set_title(", ".join(words + bars_words), fontsize=9)
    axes.grid(alpha=0.25)
    if by is not None:
        axes.legend(fontsize=9)
    _write(figure, path)


def plot_curves(
    collection: Collection,
    path: str | Path,
    curve: str = "excess_risk",
    by: str | None = None,
    at: Selection | None = None,
) -> None:
    """Learning curves along one dimension, the others as in `plot_lines`.

    Raises
    ------
    InputError : an unknown curve, dimension or label.
    """
    fixed = dict(at or {})
    by = _dimension(collection, by) if by else _longest(collection, fixed)
    _check_free(fixed, by)
    for name in collection.dimensions:
        if name not in (by, *fixed):
            fixed[name] = _axis(collection, name)[0]
    figure = _figure(7.5, 5.0, "")
    axes = figure.subplots()
    labels = _some(_axis(collection, by))
    for number, label in enumerate(labels):
        [(_, index)] = _panels(collection, set(), {**fixed, by: label})
        time, values, errors = _read_curve(collection, curve, index)
        shown = time > 0.0
        colour = _gradient(number, len(labels))
        axes.plot(time[shown], values[shown], color=colour, linewidth=1.5, label=f"{_short(label)}")
        if errors is not None:
            low = np.maximum(values - 2.0 * errors, 1e-2 * np.abs(values))
            axes.fill_between(
                time[shown], low[shown], (values + 2.0 * errors)[shown], color=colour,
                alpha=0.25, linewidth=0,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=TIME_LABEL, ylabel=label_of(curve))
    where = [f"{_words(name)} = {_short(label)}" for name, label in fixed.items()]
    axes.set_title(", ".join([*where, "bands: ±2 standard errors"]), fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(title=_words(by), fontsize=9, title_fontsize=9)
    _write(figure, path)


def label_of(name: str) -> str:
    """A name of a value in words."""
    task, curve, end = "", name, ""
    if "final_" in name:
        task, _, curve = name.partition("final_")
        end = " at the end"
    words = _WORDS.get(curve, curve.replace("_", " ")) + end
    return f"{words}, {task.rstrip('_')}" if task else words


# ---------------------------------------------------------------------- what is drawn


def _full_name(collection: Collection, name: str) -> str:
    """The name of a value; a curve stands for its last value."""
    if not collection.values:
        raise InputError("holds no results, nothing can be drawn", str(collection.path))
    for task in ("", *(f"{task}_" for task in collection.tasks)):
        final = f"{task}final_{name.removeprefix(task)}"
        if name not in collection.values and final in collection.values:
            return final
    if name not in collection.values:
        raise InputError(nearest_key(name, list(collection.values)), "--value")
    return name


def _dimension(collection: Collection, name: str) -> str:
    if name not in collection.dimensions:
        raise InputError(nearest_key(name, list(collection.dimensions)), name)
    return name


def _axis(collection: Collection, name: str) -> np.ndarray:
    return collection.coordinates[name][1]


def _longest(collection: Collection, fixed: Selection) -> str:
    free = [name for name in collection.dimensions if name not in fixed]
    if not free:
        raise InputError("given for every dimension, nothing is left to draw", "--at")
    return max(free, key=lambda name: len(_axis(collection, name)))


def _check_free(fixed: Selection, *drawn: str | None) -> None:
    for name in drawn:
        if name in fixed:
            raise InputError(f"given for '{name}', which is drawn", "--at")


def _two_dimensions(
    collection: Collection, x: str | None, y: str | None, fixed: Selection
) -> tuple[str, str]:
    given = [_dimension(collection, name) for name in (x, y) if name]
    free = [name for name in collection.dimensions if name not in (*given, *fixed)]
    free.sort(key=lambda name: len(_axis(collection, name)) < 2)  # those of one point last
    chosen = [name or (free.pop(0) if free else None) for name in (x, y)]
    if None in chosen or chosen[0] == chosen[1]:
        words = ", ".join(given) or ", ".join(collection.dimensions)
        raise InputError(f"given {words}, a map needs two different dimensions", "map")
    return str(chosen[0]), str(chosen[1])


def _panels(
    collection: Collection, drawn: set[str], at: Selection
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Name and index of every combination of labels of the dimensions that are not drawn."""
    for name in at:
        _dimension(collection, name)
    choices: list[list[tuple[str, Any]]] = []
    for name in collection.dimensions:
        labels = _axis(collection, name)
        if name in drawn:
            choices.append([("", slice(None))])
            continue
        wanted = range(len(labels)) if name not in at else [_position(name, labels, at[name])]
        several = len(labels) > 1
        choices.append(
            [(f"{_words(name)} = {_short(labels[i])}" if several else "", i) for i in wanted]
        )
    for combination in itertools.product(*choices):
        title = ", ".join(words for words, _ in combination if words)
        yield title, tuple(index for _, index in combination)


def _position(name: str, labels: np.ndarray, wanted: Any) -> int:
    numeric = labels.dtype.kind in "iuf" and isinstance(wanted, int | float | np.number)
    for number, label in enumerate(labels):
        if str(label) == str(wanted) or (numeric and np.isclose(label, wanted, rtol=1e-9)):
            return number
    allowed = ", ".join(_short(label) for label in labels)
    raise InputError(f"given {wanted!r}, allowed: {allowed}", name)


def _some(labels: np.ndarray) -> np.ndarray:
    """At most a few of the labels, evenly spread."""
    count = min(len(labels), _MOST_LINES)
    return labels[np.linspace(0, len(labels) - 1, count).round().astype(int)]


def _read_curve(
    collection: Collection, curve: str, index: tuple[Any, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    prefix = next((f"{task}_" for task in collection.tasks if curve.startswith(f"{task}_")), "")
    with reading(collection.path) as file:
        for name in (curve, f"{prefix}time"):
            if name not in file or file[name].ndim != len(collection.dimensions) + 1:
                curves = [key for key in file if file[key].ndim == len(collection.dimensions) + 1]
                raise InputError(nearest_key(curve, curves), "--value")
        time, values = file[f"{prefix}time"][index], file[curve][index]
        errors = file[f"{curve}_stderr"][index] if f"{curve}_stderr" in file else None
    return np.nan_to_num(time, nan=-1.0), values, errors


# ---------------------------------------------------------------------- how it is drawn


def _draw_map(
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
    across, up = (_positions(collection, name) for name in (x, y))
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
    _scale_axis(axes, collection, x, "x")
    _scale_axis(axes, collection, y, "y")
    axes.set_xlim(edges_x[0], edges_x[-1])
    axes.set_ylim(edges_y[0], edges_y[-1])
    return image


def _colours(values: np.ndarray) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return LogNorm(low, high) if _wide(values) else Normalize(low, high)


def _explain_states(figure: Figure, status: np.ndarray) -> None:
    words = {
        "missing": "hatched: no result",
        "failed": "×: failed",
        "not-converged": "○: not converged",
    }
    there = [text for state, text in words.items() if (status == state).any()]
    if there:
        figure.supxlabel(", ".join(there), fontsize=9, color=GREY)


def _is_text(collection: Collection, name: str) -> bool:
    return _axis(collection, name).dtype.kind not in "iuf"


def _positions(collection: Collection, name: str) -> np.ndarray:
    """Labels, or their numbers if they are text."""
    labels = _axis(collection, name)
    return np.arange(len(labels)) if _is_text(collection, name) else labels.astype(float)


def _is_log(collection: Collection, name: str) -> bool:
    return not _is_text(collection, name) and _wide(_axis(collection, name))


def _wide(values: np.ndarray) -> bool:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return bool(len(finite) and finite.min() > 0.0 and finite.max() > _WIDE * finite.min())


def _edges(collection: Collection, name: str) -> np.ndarray:
    """Boundaries of the cells around increasing labels, halfway between them."""
    places = _positions(collection, name)
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


def _scale_axis(axes: Axes, collection: Collection, name: str, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    if _is_log(collection, name):
        axes.set(**{f"{which}scale": "log"})
    labels = [_short(label) for label in _axis(collection, name)]
    if _is_text(collection, name) or len(labels) <= _MOST_LABELS:
        axis.set_ticks(_positions(collection, name), labels)
        axis.set_ticks([], minor=True)
    axis.set_label_text(_words(name))


def _words(name: str | None) -> str:
    return (name or "").replace("_", " ")


def _short(label: Any) -> str:
    text = f"{label:.4g}" if isinstance(label, int | float | np.number) else str(label)
    return text if len(text) <= 24 else text[:21] + "..."


def _gradient(number: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * number / max(1, count - 1))


def _figure(width: float, height: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _write(figure: Figure, path: str | Path) -> None:
    figure.savefig(path, format=Path(path).suffix.lstrip(".").lower() or "png")
