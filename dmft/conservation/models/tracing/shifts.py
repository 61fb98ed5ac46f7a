"""What may be added to a tensor without being seen, from the outputs backwards.

A shift is constant along some axes and arbitrary along the others, on some places only. Softmax
does not see one along its axis, norms none along theirs, batch statistics none that is the same for
the whole batch. A parameter whose shifts are not seen keeps its sums over those axes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.conservation.models.tracing.recording import Value

Places = tuple[tuple[int, ...], bytes, tuple[int, ...]]  # axes, mask, its shape


@dataclass(frozen=True)
class Shift:
    """Unseen: constant along `axes`, arbitrary along the others.

    places : a mask over some axes, None for all. why : what does not see it.
    """

    axes: frozenset[int]
    why: str
    places: Places | None = None


def both(first: list[Shift], second: list[Shift]) -> list[Shift]:
    """What neither of two readers sees."""
    found = []
    for a in first:
        for b in second:
            why = a.why if b.why == "unused" else b.why if a.why == "unused" else (
                a.why if a.why == "cross-entropy" else b.why)  # fmt: skip
            places = a.places or b.places
            if a.places is not None and b.places is not None and a.places != b.places:
                places = _common(a, b)
                if places is None:
                    continue
            elif places is not None:
                whole = a if a.places is None else b
                if not _cuts(places, whole.axes) and (a.places is None or b.places is None):
                    continue
            found.append(Shift(a.axes | b.axes, why, places))
    return fewest(found)


def _cuts(places: Places, axes: frozenset[int]) -> bool:
    """Whether what is constant along axes can be there only."""
    return not axes & set(places[0]) or bool(np.frombuffer(places[1], bool).all())


def _common(a: Shift, b: Shift) -> Places | None:
    """Places of both; a shift that is constant along a masked axis cannot be cut."""
    assert a.places is not None and b.places is not None
    if a.places[0] != b.places[0]:
        return None
    first, second = (np.frombuffer(s.places[1], bool) for s in (a, b) if s.places)
    both = first & second
    if not both.any():
        return None
    for shift, mask in ((a, first), (b, second)):
        if set(shift.axes) & set(a.places[0]) and bool((mask != both).any()):
            return None
    return a.places[0], both.tobytes(), a.places[2]


def fewest(shifts: Iterable[Shift]) -> list[Shift]:
    """Without those that another one contains."""
    found: list[Shift] = []
    each = dict.fromkeys(shifts)
    for one in sorted(each, key=lambda s: (len(s.axes), s.places is not None, s.why)):
        if not any(o.axes <= one.axes and (o.places is None or o.places == one.places)
                   for o in found):  # fmt: skip
            found.append(one)
    return found


def narrowed(value: Any, out: list[Shift], shape: tuple[int, ...]) -> list[Shift]:
    """Of an operand that is broadcast."""
    if not isinstance(value, Value):
        return []
    lost = len(shape) - len(value.shape)
    found = []
    for shift in out:
        axes = frozenset(a - lost for a in shift.axes if a >= lost and value.shape[a - lost] != 1)
        if shift.places is None:
            found.append(Shift(axes, shift.why))
        elif not lost or all(a >= lost for a in shift.places[0]):  # noqa: SIM102
            if all(value.shape[a - lost] == n for a, n in zip(
                    shift.places[0], shift.places[2], strict=True)):  # fmt: skip
                places = (tuple(a - lost for a in shift.places[0]), *shift.places[1:])
                found.append(Shift(axes, shift.why, places))
    return found
