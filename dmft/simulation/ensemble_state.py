"""What a saved ensemble must be before runs are added to it: no file is taken at its word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.results.overlaps import BLOCKS
from dmft.states import is_count, require

KERNELS = ("correlation_error", "correlation_residual", "overlap")


def check_state(
    tree: Mapping[str, Any], times: int, curves: Collection[str], *, parameters: bool
) -> None:
    """Refuse a state whose parts are of the wrong kind, do not fit, or are no finite numbers.

    Parameters
    ----------
    times : length of the recorded times.
    curves : the names of all that a run has.
    parameters : whether a run has overlaps of its parameters.

    Raises
    ------
    InputError : it names the part.
    """
    kernels = dict.fromkeys(KERNELS, (times, times))
    blocks = ("weights", "parameters") if parameters else ("weights",)
    try:
        count = tree["count"]
        require(is_count(count), "count")
        for number, run in tree["early"].items():
            place = f"early/{number}"
            require(str(number).isdecimal() and int(number) > count, place)
            _check_arrays(run["curves"], dict.fromkeys(curves, (times,)), f"{place}/curves")
            _check_arrays(run["kernels"], kernels, f"{place}/kernels")
            of_parameters = {"parameters": run["parameters"]} if "parameters" in run else {}
            _check_arrays(of_parameters, dict.fromkeys(blocks[1:], (times, times)), place)
        if count:
            _check_arrays(tree["curves"], dict.fromkeys(curves, (count, times)), "curves")
            blocks_count = tree["blocks"]["count"]
            require(is_count(blocks_count) and blocks_count == count, "blocks/count")
            sums = {name: sum_ for name, sum_ in tree["blocks"].items() if name != "count"}
            filled = min(count, BLOCKS)
            _check_arrays(sums, dict.fromkeys(blocks, (filled, times, times)), "blocks")
            for name, shape in kernels.items():
                _check_arrays(tree[name], {"mean": shape, "squares": shape}, name)
                require(bool((tree[name]["squares"] >= 0.0).all()), f"{name}/squares")
    except KeyError as error:
        raise InputError(f"given a state without {error}, cannot resume", "resume") from None
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError):
        raise InputError("given a damaged state, cannot resume", "resume") from None


def _check_arrays(
    given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], place: str
) -> None:
    """Refuse other arrays than those of these names and shapes, of finite numbers."""
    for name in shapes.keys() ^ given.keys():
        what = "without" if name in shapes else "with a strange"
        raise InputError(f"given a state {what} '{place}/{name}', cannot resume", "resume")
    for name, shape in shapes.items():
        array = given[name]
        fits = isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.shape == shape
        require(fits and bool(np.isfinite(array).all()), f"{place}/{name}")
