"""Grid files: tasks, base settings and axes, expanded into points."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dmft.config import config_of, flat, parse_config, read_toml
from dmft.errors import InputError
from dmft.resolution import Source
from dmft.sweep.axes import MOST_POINTS, Axes, Axis, read_axes, rounded
from dmft.sweep.formulas import Formula
from dmft.sweep.tasks import TASKS, Item, make_items, ordered_tasks
from dmft.validation import echo, nearest_key

_KEYS = ["tasks", "base", "axes", "zip", "sample"]
SAMPLE = "sample"  # the dimension of what is drawn
# Names that variables of a collection have; an axis of the same name takes a longer one.
RESERVED = {
    "time", "node", "status", "file", "sample", "train_mse", "excess_risk", "mean_charge",
    "effective_alpha",
}  # fmt: skip
_BASE = "in [base]"
_MOST_TOLD = 6  # axes whose lengths an error tells


@dataclass(frozen=True)
class Dimension:
    """A dimension of the grid: one axis, or several that vary together."""

    name: str
    axes: tuple[Axis, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.axes[0].values)


@dataclass(frozen=True)
class Point:
    """A point of the grid.

    index : number of the point, from 0, the last dimension varying fastest.
    position : its index along each dimension.
    values : of the axes, by their short names.
    items : one for each task, in the order in which they are computed.
    """

    index: int
    position: tuple[int, ...]
    values: dict[str, Any]
    items: tuple[Item, ...]

    @property
    def label(self) -> str:
        """The coordinates in words."""
        return ", ".join(f"{name}={axis_label(value)}" for name, value in self.values.items())


@dataclass(frozen=True)
class Grid:
    """Tasks at every combination of the values of the axes.

    formulas : of settings that follow from the axes: short name and formula, by dotted name.
    """

    tasks: tuple[str, ...]
    base: dict[str, Any]
    dimensions: tuple[Dimension, ...]
    formulas: dict[str, tuple[str, Formula]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(dimension) for dimension in self.dimensions)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """All points, validated.

        Raises
        ------
        InputError : a point with a value that is not allowed, or two points that are the same.
        """
        points = tuple(
            self._point(index, position)
            for index, position in enumerate(itertools.product(*map(range, self.shape)))
        )
        self._check_distinct(points)
        return points

    @cached_property
    def items(self) -> dict[str, Item]:
        """What is to be computed, by name; points that share a result share its item."""
        return {item.name: item for point in self.points for item in point.items}

    def _point(self, index: int, position: tuple[int, ...]) -> Point:
        settings: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for dimension, number in zip(self.dimensions, position, strict=True):
            for axis, name in zip(dimension.axes, dimension.names, strict=True):
                settings[axis.key] = values[name] = axis.values[number]
        for key, (name, formula) in self.formulas.items():
            settings[key] = values[name] = rounded(formula.value(values))
        try:
            config = config_of(Source(self.base, _BASE), Source(settings, "in [axes]"))
        except InputError as error:
            raise _at_point(error, settings, self.base) from None
        return Point(index, position, values, make_items(self.tasks, config))

    def _check_distinct(self, points: Sequence[Point]) -> None:
        seen: dict[tuple[str, ...], Point] = {}
        for point in points:
            before = seen.setdefault(tuple(item.name for item in point.items), point)
            if before is not point:
                raise InputError(
                    f"points {before.index} ({before.label}) and {point.index} ({point.label}) "
                    f"are the same to {', '.join(self.tasks)}: a value is repeated, or an axis "
                    "changes nothing that they depend on",
                    "axes",
                )


def load_grid(path: str | Path) -> Grid:
    """Read a grid file.

    Parameters
    ----------
    path : a TOML file, see docs/sweeps.md.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML, unknown key, empty or conflicting axes.
    """
    return parse_grid(read_toml(Path(path)))


def parse_grid(table: Mapping[str, Any]) -> Grid:
    """Validate a table with the keys of a grid file; points follow when asked for.

    Raises
    ------
    InputError : as said.
    """
    for key in table:
        if key not in _KEYS:
            raise InputError(nearest_key(key, _KEYS), key)
    base = table.get("base", {})
    if not isinstance(base, dict):
        raise InputError(f"given {echo(base)}, must be a table of sections", "base")
    axes = read_axes(table.get("axes", {}), table.get("sample"))
    names = _short_names([*axes.axes, *axes.formulas])
    formulas = {key: (names[key], formula) for key, formula in axes.formulas.items()}
    for formula in axes.formulas.values():
        formula.check_names([names[key] for key in axes.axes])
    tasks = _read_tasks(table.get("tasks", ["solve"]))
    grid = Grid(tasks, base, _dimensions(axes, names, table.get("zip", [])), formulas)
    if math.prod(grid.shape) > MOST_POINTS:
        lengths = " x ".join(map(str, grid.shape[:_MOST_TOLD]))
        lengths += " x ..." if len(grid.shape) > _MOST_TOLD else ""
        raise InputError(f"given {lengths} points, must be at most {MOST_POINTS}", "axes")
    return grid


def axis_label(value: Any) -> Any:
    """A number or text that stands for the value of an axis."""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, sort_keys=True)
    return value


def _read_tasks(given: Any) -> tuple[str, ...]:
    allowed = ", ".join(TASKS)
    if not isinstance(given, list) or not given:
        raise InputError(f"given {echo(given)}, must be a list of tasks: {allowed}", "tasks")
    for name in given:
        if not isinstance(name, str) or name not in TASKS:
            raise InputError(f"given {echo(name)}, allowed: {allowed}", "tasks")
    return ordered_tasks(given)


def _dimensions(found: Axes, names: Mapping[str, str], given: Any) -> tuple[Dimension, ...]:
    """Axes in their order; those of a group of `zip`, or drawn, at the place of the first."""
    axes, sampled = found.axes, list(found.sampled)
    groups = _read_groups(axes, given, sampled) + ([sampled] if sampled else [])
    dimensions = []
    for key in axes:
        group = next((group for group in groups if key in group), [key])
        members = [name for name in axes if name in group]
        if key == members[0]:
            dimensions.append(
                Dimension(
                    SAMPLE if key in sampled else names[key],
                    tuple(axes[name] for name in members),
                    tuple(names[name] for name in members),
                )
            )
    return tuple(dimensions)


def _read_groups(axes: Mapping[str, Axis], given: Any, sampled: Sequence[str]) -> list[list[str]]:
    if not isinstance(given, list) or not all(isinstance(group, list) for group in given):
        raise InputError(f"given {echo(given)}, must be a list of lists of axes", "zip")
    seen: set[str] = set()
    for group in given:
        for key in group:
            if not isinstance(key, str):
                raise InputError(f"given {echo(key)}, must be the name of an axis", "zip")
            if key not in axes:
                raise InputError(nearest_key(key, list(axes)), f"zip.{key}")
            if key in sampled:
                raise InputError("is drawn with all other ranges, zip is for lists", f"zip.{key}")
            if key in seen:
                raise InputError("given twice", f"zip.{key}")
            seen.add(key)
        lengths = {key: len(axes[key].values) for key in group}
        if len(set(lengths.values())) > 1:
            words = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise InputError(f"given axes of different lengths: {words}", "zip")
    return given


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last word of each dotted name, more words where they would be the same."""
    names: dict[str, str] = {}
    for key in keys:
        words = key.split(".")
        for count in range(1, len(words) + 1):
            name = "_".join(words[-count:])
            others = ("_".join(other.split(".")[-count:]) for other in keys if other != key)
            if name not in others and name not in RESERVED:
                break
        names[key] = name
    return names


def _at_point(
    error: InputError, settings: Mapping[str, Any], base: Mapping[str, Any]
) -> InputError:
    """Say whether an axis or the base is to blame; both may be only together."""
    where = error.location
    if any(where == key or where.startswith(f"{key}.") for key in settings):
        return InputError(error.message, f"axes.{where}")
    try:
        parse_config(base, _BASE)
    except InputError as alone:
        if (alone.message, alone.location) == (error.message, where):
            return InputError(error.message, f"base.{where}")
    point = ", ".join(f"{key}={value}" for key, value in settings.items())
    return InputError(f"{error.message} (at the point {point})", where)


def base_settings(grid: Grid) -> dict[str, Any]:
    """Resolved settings that all points share, flat, without those that are axes."""
    axes = [axis.key for dimension in grid.dimensions for axis in dimension.axes]
    axes += grid.formulas
    shared: dict[str, Any] | None = None
    for point in grid.points:
        found = dict(flat(point.items[0].config.to_table()))
        shared = found if shared is None else _common(shared, found)
    return {
        key: value
        for key, value in (shared or {}).items()
        if not any(key == axis or key.startswith(f"{axis}.") for axis in axes)
    }


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key in other and other[key] == value}
