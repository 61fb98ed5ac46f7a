"""What a saved state must be before a solve goes on from it: no file is taken at its word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.collocation import STAGES
from dmft.results.overlaps import BLOCKS
from dmft.states import is_count, is_number, require
from dmft.texts import words_of

_START = 0.0  # of the first panel
_CONTROL = {"step", "last_step", "last_error"}  # of panels, see pilot.py
_SAME = 1e-6  # relative: edges are sums of lengths, and their differences lose digits
_REPEATING = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


def require_state(resume: object) -> None:
    """Refuse what can be no state: a Solution, for one, does not hold it.

    Raises
    ------
    InputError : it names the kind.
    """
    if resume is not None and not isinstance(resume, Mapping):
        kind = type(resume).__name__
        raise InputError(f"given a {kind}, must be a state of `keep` or a file", "resume")


def check_state(state: Mapping[str, Any]) -> None:
    """Refuse a state whose parts are of the wrong kind, do not fit, or are no finite numbers.

    Raises
    ------
    InputError : it names the part.
    """
    try:
        _check_numbers(state, "")
        require(is_count(state["splits"]), "splits")
        _check_replicates(state["replicates"])
        for name in ("plan", "beyond"):
            if name in state:
                _check_plan(state[name], name)
        for name in ("march", "marches", "known"):
            require(isinstance(state.get(name, {}), Mapping), name)
        require(isinstance(state.get("method", ""), str), "method")
        steps = np.diff(state["plan"]["edges"]) if "plan" in state else None
        for number, march in state.get("marches", {}).items():
            _check_march(march, None if number == "0" else steps, f"marches/{number}")
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"given a state without {error}, cannot resume", "resume") from None
    except (TypeError, ValueError, AttributeError, IndexError):
        raise InputError("given a damaged state, cannot resume", "resume") from None


def repeated(repeat: Callable[[], None]) -> None:
    """Repeat saved panels.

    Raises
    ------
    InputError : they do not fit what they are repeated on.
    """
    try:
        repeat()
    except _REPEATING as error:
        words = f"{type(error).__name__} {words_of(error)}".rstrip()
        raise InputError(
            f"given panels of another version, or damaged: {words}", "resume"
        ) from None


def check_stages(rows: Mapping[str, Any]) -> None:
    """Refuse a saved panel without a length, or rows that are not as many as it has stages.

    Raises
    ------
    ValueError : it names them.
    """
    for name, value in rows.items():
        if isinstance(value, Mapping):
            check_stages(value)
        elif name == "step":
            if not is_number(value) or value <= 0.0:
                raise ValueError(f"'{name}' is no length")
        elif np.ndim(value) != (1 if name == "scale" else 2):
            raise ValueError(f"'{name}' has {np.ndim(value)} axes")
        elif len(value) != STAGES:
            raise ValueError(f"'{name}' has {len(value)} rows")


def _check_march(march: Mapping[str, Any], steps: np.ndarray | None, name: str) -> None:
    """Numbers that control it, and panels that are those of the plan, whose lengths are given."""
    for part in ("control", "before", "work"):
        numbers = march.get(part, {})
        require(all(is_number(n) and n >= 0.0 for n in numbers.values()), f"{name}/{part}")
        if numbers and part != "work":
            require(numbers.keys() >= _CONTROL, f"{name}/{part}")
    panels = march.get("panels", {})
    require(panels.keys() == {str(index) for index in range(len(panels))}, f"{name}/panels")
    for index, rows in panels.items():
        here = f"{name}/panels/{index}"
        try:
            check_stages(rows)
        except ValueError as error:
            raise InputError(
                f"given a state whose '{here}' is damaged, {error}: cannot resume", "resume"
            ) from None
        if steps is not None and int(index) < len(steps):
            require(math.isclose(rows["step"], steps[int(index)], rel_tol=_SAME), f"{here}/step")


def _check_numbers(tree: Mapping[str, Any], place: str) -> None:
    for name, value in tree.items():
        here = f"{place}{name}"
        if isinstance(value, Mapping):
            _check_numbers(value, f"{here}/")
        elif isinstance(value, np.ndarray):
            require(value.dtype.kind in "biuf" and bool(np.isfinite(value).all()), here)
        elif isinstance(value, float):
            require(math.isfinite(value), here)


def _check_replicates(tree: Mapping[str, Any]) -> None:
    count = tree["count"]
    require(is_count(count), "replicates/count")
    require(all(map(is_number, tree["work"].values())), "replicates/work")
    if "paths" in tree:
        _check_paths(tree["paths"])
    if not count:
        return
    shapes = {np.shape(rows) for rows in tree["curves"].values()}
    require(len(shapes) == 1 and {"train_mse", "excess_risk"} <= tree["curves"].keys(), "curves")
    shape = shapes.pop()
    require(len(shape) == 2 and shape[0] == count, "curves")
    square = (shape[1], shape[1])
    for name, values in tree["sums"].items():
        require(np.shape(values) == square, f"sums/{name}")
    for name, values in tree.get("biases", {}).items():
        require(np.ndim(values) == 2 and np.shape(values)[1] == shape[1], f"biases/{name}")
    blocks = {name: values for name, values in tree["blocks"].items() if name != "count"}
    require(tree["blocks"]["count"] == count and "weights" in blocks, "blocks")
    for name, values in blocks.items():
        require(np.shape(values) == (min(count, BLOCKS), *square), f"blocks/{name}")


def _check_paths(paths: Mapping[str, Any]) -> None:
    curves = np.shape(paths["weights"])
    require(paths.keys() == {"teacher", "probability", "weights", "force"}, "paths")
    require(len(curves) == 2 and np.shape(paths["force"]) == curves, "paths/force")
    for name in ("teacher", "probability"):
        require(np.shape(paths[name]) == curves[:1], f"paths/{name}")


def _check_plan(tree: Mapping[str, Any], name: str) -> None:
    edges, directions, rotation = (tree[key] for key in ("edges", "directions", "rotation"))
    require(np.ndim(edges) == 1 and len(edges) > 1, f"{name}/edges")
    require(edges[0] == _START and bool(np.all(np.diff(edges) > 0.0)), f"{name}/edges")
    require(np.ndim(directions) == 2 and len(directions) == len(edges) - 1, f"{name}/directions")
    sides = (2,) if np.ndim(rotation) == 3 else ()  # where both are sampled
    square = (*sides, rotation.shape[-1], rotation.shape[-1])
    require(np.ndim(rotation) >= 2 and rotation.shape == square, f"{name}/rotation")
    require(isinstance(tree.get("reason", ""), str), f"{name}/reason")
    rtol = tree.get("rtol", 0.0)
    require(isinstance(rtol, int | float) and rtol >= 0.0, f"{name}/rtol")
