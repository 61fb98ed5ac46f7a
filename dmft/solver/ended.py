"""Marches at their end, in memory: a solve that is extended in the same process goes on from them.

A file keeps the rows of panels, small, which are committed again; a process that goes on has the
paths themselves at hand. Either way gives the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np


class Ended:
    """A march at its end, from which copies go on. Pickles and files are without it.

    march : on panels. size : of it in bytes, about.
    """

    stays_in_memory = True  # for those who write a state

    def __init__(self, march: Any, size: float) -> None:
        if march is not None:
            march.employ(None)  # threads belong to a solve
        self._march, self.size = march, size

    def again(
        self, panels: Mapping[str, Mapping[str, Any]], pool: ThreadPoolExecutor | None
    ) -> Any | None:
        """A copy of the march, with counters of work at zero; None if these are not its panels."""
        march = self._march
        if march is None or len(march.rows) != len(panels):
            return None
        for index, rows in enumerate(march.rows):
            if not _same(asdict(rows), panels[str(index)]):
                return None
        found = copy.deepcopy(march)
        found.employ(pool)
        found.work = dict.fromkeys(found.work, 0.0)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Ended:
        return self  # nobody changes the march in it

    def __reduce__(self) -> tuple[type[Ended], tuple[None, float]]:
        return Ended, (None, 0.0)


def marches_in(found: object) -> dict[str, Ended]:
    """The marches of a state; a file has none, whatever it has under their name."""
    if not isinstance(found, Mapping):
        return {}
    return {name: each for name, each in found.items() if isinstance(each, Ended)}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two trees of arrays and numbers have the same bits."""
    return one.keys() == other.keys() and all(
        _same(value, other[name])
        if isinstance(value, Mapping)
        else np.array_equal(value, other[name])
        for name, value in one.items()
    )
