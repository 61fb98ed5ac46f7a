"""The axes of a grid file: lists, spaced values, samples of ranges, and formulas of other axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.sobol import MOST_DIMENSIONS, scrambled_points
from dmft.sweep.formulas import Formula
from dmft.validation import echo, is_finite, nearest_key

MOST_POINTS = 100_000  # of a grid: each has a file
_MOST_AXES = 256  # more than there are settings
_DIGITS = 12  # of generated values, so that 0.1 is the 0.1 that a reader selects
_SPACED, _RANGES, _FORMULA = ("geomspace", "linspace"), ("uniform", "loguniform"), "formula"
_KINDS = ("random", "latin-hypercube", "sobol")
_SAMPLE = {"kind": "sobol", "count": None, "seed": 0}


@dataclass(frozen=True)
class Axis:
    """A setting, by its dotted name, and the values it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Axes:
    """What a grid varies.

    axes : in the order of the file. sampled : those that are drawn together, along one dimension.
    formulas : settings that follow from the axes at every point, by dotted name.
    """

    axes: dict[str, Axis]
    sampled: tuple[str, ...]
    formulas: dict[str, Formula]


def read_axes(given: Any, sample: Any) -> Axes:
    """Validate the tables `axes` and `sample` of a grid file.

    Raises
    ------
    InputError : as said.
    """
    if not isinstance(given, dict) or not given:
        raise InputError("given none, must be a table with at least one setting", "axes")
    axes: dict[str, Axis] = {}
    formulas: dict[str, Formula] = {}
    ranges: dict[str, tuple[str, Any]] = {}
    keys: list[str] = []
    for key, values in _settings(given):
        where = f"axes.{key}"
        if key in keys:
            raise InputError("given twice", where)
        keys.append(key)
        if len(keys) > _MOST_AXES:
            raise InputError(f"given more than {_MOST_AXES} settings", "axes")
        kind = next(iter(values)) if isinstance(values, dict) and len(values) == 1 else ""
        if kind == _FORMULA:
            formulas[key] = Formula.read(values[kind], f"{where}.{kind}")
            continue
        if kind in _RANGES:
            ranges[key] = kind, values[kind]
        axes[key] = Axis(key, () if kind in _RANGES else _read_values(values, where))
    for one, other in itertools.permutations(keys, 2):
        if other.startswith(f"{one}."):
            raise InputError(f"conflicts with axis '{other}', which is a part of it", f"axes.{one}")
    for key, drawn in _drawn(ranges, sample).items():
        axes[key] = Axis(key, drawn)
    if not axes:
        raise InputError("given formulas alone, must have an axis that they follow from", "axes")
    return Axes(axes, tuple(ranges), formulas)


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values, from keys in quotes and from nested tables alike."""
    for key, value in table.items():
        if isinstance(value, dict) and not value.keys() & {*_SPACED, *_RANGES, _FORMULA}:
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read_values(given: Any, where: str) -> tuple[Any, ...]:
    if isinstance(given, list):
        if not given:
            raise InputError("given an axis of length 0, must have at least one value", where)
        return tuple(given)
    if isinstance(given, dict) and len(given) == 1:
        [(kind, ends)] = given.items()
        return _spaced(kind, ends, f"{where}.{kind}")
    raise InputError(
        f"given {echo(given)}, must be a list of values, or one of {{ geomspace = [first, last, "
        "count] }, { linspace = [first, last, count] }, { uniform = [least, most] }, "
        '{ loguniform = [least, most] }, { formula = "..." }',
        where,
    )


def _spaced(kind: str, ends: Any, where: str) -> tuple[float, ...]:
    numbers = isinstance(ends, list) and len(ends) == 3 and all(_is_number(end) for end in ends)
    if not numbers or not isinstance(ends[2], int):
        raise InputError(f"given {echo(ends)}, must be [first, last, count]", where)
    first, last, count = ends
    if count > MOST_POINTS:
        raise InputError(f"given {count} values, must be at most {MOST_POINTS}", where)
    if count < 1:
        raise InputError(f"given an axis of length {count}, must have at least one value", where)
    _check_ends(kind == "geomspace", ends, where)
    spaced = np.geomspace if kind == "geomspace" else np.linspace
    return tuple(rounded(value) for value in spaced(first, last, count))


def _check_ends(logarithmic: bool, ends: list[float], where: str) -> None:
    first, last = ends[:2]
    if logarithmic and not (first > 0 and last > 0):
        raise InputError(f"given {ends}, both ends must be greater than 0", where)
    if not math.isfinite(last - first):
        raise InputError(f"given {ends}, whose difference is no number", where)


def _drawn(ranges: Mapping[str, tuple[str, Any]], sample: Any) -> dict[str, tuple[float, ...]]:
    """Values of all axes that are ranges, drawn together."""
    if not ranges:
        if sample is not None:
            raise InputError("given without an axis { uniform = [least, most] }", "sample")
        return {}
    kind, count, seed = _read_sample(sample)
    if len(ranges) > MOST_DIMENSIONS:
        raise InputError(f"given {len(ranges)} ranges, must be at most {MOST_DIMENSIONS}", "axes")
    table = _unit_points(kind, len(ranges), count, seed)
    drawn = {}
    for (key, (law, ends)), units in zip(ranges.items(), table.T, strict=True):
        where = f"axes.{key}.{law}"
        if not (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))):
            raise InputError(f"given {echo(ends)}, must be [least, most]", where)
        least, most = (float(end) for end in ends)
        if not least < most:
            raise InputError(f"given {ends}, the second must be greater", where)
        _check_ends(law == "loguniform", ends, where)
        if law == "loguniform":
            values = least * (most / least) ** units
        else:
            values = least + (most - least) * units
        drawn[key] = tuple(rounded(value) for value in values)
    return drawn


def _read_sample(given: Any) -> tuple[str, int, int]:
    if not isinstance(given, dict):
        raise InputError(
            "given none, must be a table such as { kind = 'sobol', count = 64 }", "sample"
        )
    for key in given:
        if key not in _SAMPLE:
            raise InputError(nearest_key(key, list(_SAMPLE)), f"sample.{key}")
    kind, count, seed = ({**_SAMPLE, **given}[key] for key in _SAMPLE)
    if kind not in _KINDS:
        raise InputError(f"given {echo(kind)}, allowed: {', '.join(_KINDS)}", "sample.kind")
    for name, value, least, most in (
        ("count", count, 1, MOST_POINTS), ("seed", seed, 0, 2**63)
    ):  # fmt: skip
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InputError(
                f"given {echo(value)}, must be an integer from {least} to {most}", f"sample.{name}"
            )
    return kind, count, seed


def _unit_points(kind: str, dimensions: int, count: int, seed: int) -> np.ndarray:
    """Points of the unit cube, (count, dimensions).

    Random and Sobol points stay when more are asked for.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    if kind == "random":
        return generator.random((count, dimensions))
    if kind == "latin-hypercube":
        cells = np.array([generator.permutation(count) for _ in range(dimensions)]).T
        return np.asarray((cells + generator.random(cells.shape)) / count)
    return scrambled_points(count, dimensions, generator)


def rounded(value: float) -> float:
    """A generated value."""
    return float(f"{value:.{_DIGITS}g}")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and is_finite(value)
