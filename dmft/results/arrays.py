"""Dataclasses of arrays: read-only once made, compared by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def lock(result: Any) -> None:
    """Make the arrays of a frozen dataclass read-only views, the caller's stay as they are."""
    for field in fields(result):
        values = getattr(result, field.name)
        if isinstance(values, np.ndarray):
            view = values.view()
            view.flags.writeable = False
            object.__setattr__(result, field.name, view)


def same(one: Any, other: Any) -> bool:
    """Equality of nested dataclasses, mappings and arrays, bit by bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other)
    if is_dataclass(one):
        return all(
            same(getattr(one, field.name), getattr(other, field.name))
            for field in fields(one)
            if field.compare
        )
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)
