"""What a saved state must be before a solve goes on from it: no file is taken at its word."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.collocation import STAGES
from dmft.texts import words_of

_START = 0.0  # of the first panel
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
        _require(_is_count(state["splits"]), "splits")
        _check_replicates(state["replicates"])
        for name in ("plan", "beyond"):
            if name in state:
                _check_plan(state[name], name)
        for name in ("march", "marches", "known"):
            _require(isinstance(state.get(name, {}), Mapping), name)
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
    """Refuse saved rows of a panel that are not as many as it has stages.

    Raises
    ------
    ValueError : it names them.
    """
    for name, value in rows.items():
        if isinstance(value, Mapping):
            check_stages(value)
        elif isinstance(value, np.ndarray) and len(value) != STAGES:
            raise ValueError(f"'{name}' has {len(value)} rows")


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise InputError(f"given a state whose '{name}' is damaged, cannot resume", "resume")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_numbers(tree: Mapping[str, Any], place: str) -> None:
    for name, value in tree.items():
        here = f"{place}{name}"
        if isinstance(value, Mapping):
            _check_numbers(value, f"{here}/")
        elif isinstance(value, np.ndarray):
            _require(value.dtype.kind in "biuf" and bool(np.isfinite(value).all()), here)
        elif isinstance(value, float):
            _require(math.isfinite(value), here)


def _check_replicates(tree: Mapping[str, Any]) -> None:
    count = tree["count"]
    _require(_is_count(count) and isinstance(tree["work"], Mapping), "replicates")
    if not count:
        return
    shapes = {np.shape(rows) for rows in tree["curves"].values()}
    _require(len(shapes) == 1 and {"train_mse", "excess_risk"} <= tree["curves"].keys(), "curves")
    shape = shapes.pop()
    _require(len(shape) == 2 and shape[0] == count, "curves")
    square = (shape[1], shape[1])
    for name, values in tree["sums"].items():
        _require(np.shape(values) == square, f"sums/{name}")


def _check_plan(tree: Mapping[str, Any], name: str) -> None:
    edges, directions, rotation = (tree[key] for key in ("edges", "directions", "rotation"))
    _require(np.ndim(edges) == 1 and len(edges) > 1, f"{name}/edges")
    _require(edges[0] == _START and bool(np.all(np.diff(edges) > 0.0)), f"{name}/edges")
    _require(np.ndim(directions) == 2 and len(directions) == len(edges) - 1, f"{name}/directions")
    sides = (2,) if np.ndim(rotation) == 3 else ()  # where both are sampled
    square = (*sides, rotation.shape[-1], rotation.shape[-1])
    _require(np.ndim(rotation) >= 2 and rotation.shape == square, f"{name}/rotation")
    _require(isinstance(tree.get("reason", ""), str), f"{name}/reason")
    rtol = tree.get("rtol", 0.0)
    _require(isinstance(rtol, int | float) and rtol >= 0.0, f"{name}/rtol")
