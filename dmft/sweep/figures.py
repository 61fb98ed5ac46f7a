"""Figures of collections. Points without a result are hatched or left out, never filled in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.plotting import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from dmft.plotting.style import axes_for
from dmft.store.hdf5 import reading
from dmft.sweep.collection import Collection
from dmft.sweep.drawing import (
    abscissa,
    colours_of,
    dimension_of,
    draw_map,
    explain_states,
    gradient,
    is_wide,
    label_of,
    labels_of,
    longest,
    new_figure,
    positions,
    problem_of,
    scale_axis,
    short,
    time_label_of,
    words_of,
    write_figure,
)
from dmft.sweep.grid import SAMPLE
from dmft.sweep.sources import check_sources, check_views
from dmft.validation import nearest_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY)
_MARKERS = "osD^vP*"
_MOST_PANELS = 12
_MOST_LINES = 7

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
    title += f"\n{problem_of(collection)}"
    figure = new_figure(1.2 + 4.6 * columns, 1.1 + 3.9 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = colours_of(values)
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    for axes, (name, index) in zip(grid.flat, shown, strict=False):
        image = _draw_panel(axes, collection, x, y, index, values, colours)
        axes.set_title(name, fontsize=9)
    if colours is not None:
        figure.colorbar(image, ax=grid, label=label_of(value))
    explain_states(figure, collection.status)
    write_figure(figure, path)


def plot_phase_diagram(
    collection: Collection,
    value: str = "final_excess_risk",
    x: str | None = None,
    y: str | None = None,
    at: Selection | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a value over two dimensions of a collection as a map, with a labelled colour bar.

    Points without a result are hatched, failed ones crossed, those that did not converge circled.

    Parameters
    ----------
    collection : of `load_collection`.
    value : of `collection.values`; a curve stands for its last value.
    x, y : dimensions of the axes; by default the first two with several points.
    at : labels of other dimensions, which are taken at their first label by default.
    ax : matplotlib axes to draw into; new ones by default.

    Raises
    ------
    InputError : an unknown value, dimension or label, or fewer than two dimensions.
    """
    value = _full_name(collection, value)
    values, fixed = collection.values[value], dict(at or {})
    x, y = _two_dimensions(collection, x, y, fixed)
    _check_free(fixed, x, y)
    for name in collection.dimensions:
        if name not in (x, y, *fixed):
            fixed[name] = labels_of(collection, name)[0]
    [(title, index)] = _panels(collection, {x, y}, fixed)
    colours = colours_of(values[index])
    axes = axes_for(ax)
    image = _draw_panel(axes, collection, x, y, index, values, colours)
    axes.set_title(title, fontsize=9)
    if colours is not None:
        axes.figure.colorbar(image, ax=axes, label=label_of(value))
    return axes


def plot_lines(
    collection: Collection,
    path: str | Path,
    value: str = "final_excess_risk",
    x: str | None = None,
    by: str | None = None,
    at: Selection | None = None,
) -> None:
    """A value over one dimension with bars of two standard errors, a line for each label of `by`.

    Dimensions that are neither, nor in `at`, are taken at their first label. `x` may also be an
    axis that varies together with others; drawn ones make points without a line.

    Raises
    ------
    InputError : an unknown value, dimension or label.
    """
    value = _full_name(collection, value)
    values = collection.values[value]
    errors = collection.values.get(f"{value}_stderr")
    fixed = dict(at or {})
    x, along = abscissa(collection, x, fixed)
    others = [d for d in collection.dimensions if d not in (along, *fixed)]
    others = [name for name in others if len(labels_of(collection, name)) > 1]
    by = dimension_of(collection, by) if by else next(iter(others), None)
    if by == along:
        raise InputError(f"given '{by}' twice, must be two dimensions", "by")
    _check_free(fixed, along, by)
    for name in collection.dimensions:
        if name not in (along, by, *fixed):
            fixed[name] = labels_of(collection, name)[0]
    figure = new_figure(7.5, 5.2, problem_of(collection))
    axes = figure.subplots()
    places = positions(collection, x)
    order = np.argsort(places, kind="stable") if x != along else np.arange(len(places))
    labels = [None] if by is None else list(_some(labels_of(collection, by)))
    for number, label in enumerate(labels):
        chosen = fixed if label is None else {**fixed, str(by): label}
        [(_, index)] = _panels(collection, {along}, chosen)
        bars = None if errors is None else 2.0 * errors[index][order]
        axes.errorbar(
            places[order], values[index][order], yerr=bars, capsize=2,
            linewidth=0.0 if along == SAMPLE else 1.2, elinewidth=1.0,
            color=_COLOURS[number % len(_COLOURS)], marker=_MARKERS[number % len(_MARKERS)],
            markersize=4.5, markerfacecolor="white",
            label=None if label is None else f"{words_of(by)} = {short(label)}",
        )  # fmt: skip
    scale_axis(axes, collection, x, "x")
    if is_wide(values):
        axes.set_yscale("log")
    axes.set_ylabel(label_of(value))
    words = [f"{words_of(name)} = {short(label)}" for name, label in fixed.items()]
    bars_words = ["bars: ±2 standard errors"] if errors is not None else []
    axes.set_title(", ".join(words + bars_words), fontsize=9)
    axes.grid(alpha=0.25)
    if by is not None:
        axes.legend(fontsize=9)
    write_figure(figure, path)


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
    by = dimension_of(collection, by) if by else longest(collection, fixed)
    _check_free(fixed, by)
    for name in collection.dimensions:
        if name not in (by, *fixed):
            fixed[name] = labels_of(collection, name)[0]
    figure = new_figure(7.5, 5.2, problem_of(collection))
    axes = figure.subplots()
    labels = _some(labels_of(collection, by))
    for number, label in enumerate(labels):
        [(_, index)] = _panels(collection, set(), {**fixed, by: label})
        time, values, errors = _read_curve(collection, curve, index)
        shown = time > 0.0
        colour = gradient(number, len(labels))
        axes.plot(time[shown], values[shown], color=colour, linewidth=1.5, label=f"{short(label)}")
        if errors is not None:
            low = np.maximum(values - 2.0 * errors, 1e-2 * np.abs(values))
            axes.fill_between(
                time[shown], low[shown], (values + 2.0 * errors)[shown], color=colour,
                alpha=0.25, linewidth=0,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel=time_label_of(collection), ylabel=label_of(curve))
    where = [f"{words_of(name)} = {short(label)}" for name, label in fixed.items()]
    axes.set_title(", ".join([*where, "bands: ±2 standard errors"]), fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(title=words_of(by), fontsize=9, title_fontsize=9)
    write_figure(figure, path)


# ---------------------------------------------------------------------- what is drawn


def _draw_panel(
    axes: Axes,
    collection: Collection,
    x: str,
    y: str,
    index: tuple[Any, ...],
    values: np.ndarray,
    colours: Any,
) -> Any:
    """The map of the points at an index, rows along y."""
    part, states = values[index], collection.status[index]
    if collection.dimensions.index(x) < collection.dimensions.index(y):
        part, states = part.T, states.T
    return draw_map(axes, collection, x, y, part, states, colours)


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


def _check_free(fixed: Selection, *drawn: str | None) -> None:
    for name in drawn:
        if name in fixed:
            raise InputError(f"given for '{name}', which is drawn", "--at")


def _two_dimensions(
    collection: Collection, x: str | None, y: str | None, fixed: Selection
) -> tuple[str, str]:
    given = [dimension_of(collection, name) for name in (x, y) if name]
    free = [name for name in collection.dimensions if name not in (*given, *fixed)]
    free.sort(key=lambda name: len(labels_of(collection, name)) < 2)  # those of one point last
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
        dimension_of(collection, name)
    choices: list[list[tuple[str, Any]]] = []
    for name in collection.dimensions:
        labels = labels_of(collection, name)
        if name in drawn:
            choices.append([("", slice(None))])
            continue
        wanted = range(len(labels)) if name not in at else [_position(name, labels, at[name])]
        several = len(labels) > 1
        choices.append(
            [(f"{words_of(name)} = {short(labels[i])}" if several else "", i) for i in wanted]
        )
    for combination in itertools.product(*choices):
        title = ", ".join(words for words, _ in combination if words)
        yield title, tuple(index for _, index in combination)


def _position(name: str, labels: np.ndarray, wanted: Any) -> int:
    numeric = labels.dtype.kind in "iuf" and isinstance(wanted, int | float | np.number)
    for number, label in enumerate(labels):
        if str(label) == str(wanted) or (numeric and np.isclose(label, wanted, rtol=1e-9)):
            return number
    allowed = ", ".join(short(label) for label in labels)
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
        names = [name for name in (curve, f"{prefix}time", f"{curve}_stderr") if name in file]
        for name in names:
            if file[name].dtype.kind not in "iuf" or file[name].shape != file[curve].shape:
                raise InputError(f"dataset /{name} does not fit /{curve}, damaged?")
        if any(file[name].is_virtual for name in names):
            files = file[f"{prefix}file"].asstr()[()]
            for name in names:
                check_views(file[name], files)
            check_sources(collection.path, files[index])
        time, values = file[f"{prefix}time"][index], file[curve][index]
        errors = file[f"{curve}_stderr"][index] if f"{curve}_stderr" in file else None
    return np.nan_to_num(time, nan=-1.0), values, errors
