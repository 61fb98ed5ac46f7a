"""All laws that one trace proves, and what an eps breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dmft.conservation.models.forms import ModelLaw, Slot, Term
from dmft.conservation.models.survey import ANY_LOSS, CROSS_ENTROPY, Broken
from dmft.conservation.models.tracing.exchanges import exchanges
from dmft.conservation.models.tracing.families import changing, families, law_of
from dmft.conservation.models.tracing.follow import Follow, live
from dmft.conservation.models.tracing.recording import Trace
from dmft.conservation.models.tracing.shifts import Shift
from dmft.conservation.models.tracing.unknowns import LARGEST_BLOCK
from dmft.conservation.models.tracing.unseen import unseen

_KINDS = {
    "cross-entropy": "output sums", "softmax": "softmax sums", "norm": "stream mean",
    "batch norm": "bias", "unused": "unused", "padding": "padding",
}  # fmt: skip
_WORDS = {
    "cross-entropy": "a common shift of all logits", "softmax": "a shift of what softmax sees",
    "norm": "the norm subtracts it", "batch norm": "the norm subtracts it",
    "unused": "no output depends on it", "padding": "it gets no gradient",
}  # fmt: skip


def findings(trace: Trace, loss: str) -> tuple[list[ModelLaw], list[Broken], list[str]]:
    """Laws, quantities that are broken, and operations about which nothing is known."""
    shapes = {name: value.shape for name, value in trace.parameters.items()}
    trace = replace(trace, nodes=live(trace))
    seen = unseen(trace, cross_entropy=loss == CROSS_ENTROPY)
    shifts = seen.parameters
    fixed = {name: _constant(own, shapes[name]) for name, own in shifts.items()}
    laws, unknown = _scales(trace, shapes, fixed, ignore_eps=False)
    known = {law.formula for law in laws}
    broken = [
        Broken(law.name, law.formula, "the eps of a norm")
        for law in _scales(trace, shapes, fixed, ignore_eps=True)[0] if law.formula not in known
    ]  # fmt: skip
    for name, own in shifts.items():
        laws += _sums(name, shapes[name], own)
    exchanged = exchanges(trace, seen, shapes)
    if loss == CROSS_ENTROPY and exchanged:
        always = {
            law.formula for law in exchanges(trace, unseen(trace, cross_entropy=False), shapes)
        }
        exchanged = [law if law.formula in always else replace(law, certainty=CROSS_ENTROPY)
                     for law in exchanged]  # fmt: skip
    laws += exchanged
    if loss != CROSS_ENTROPY:
        have = {law.name for law in laws}
        for name, own in unseen(trace, cross_entropy=True).parameters.items():
            for law in _sums(name, shapes[name], own):
                if law.name not in have and law.certainty == CROSS_ENTROPY:
                    why = "needs cross-entropy over the outputs"
                    broken.append(Broken(law.name, law.formula, why))
    return _named([law for law in laws if law.entries]), broken, unknown


def _scales(
    trace: Trace, shapes: dict[str, tuple[int, ...]], fixed: dict[str, np.ndarray], *,
    ignore_eps: bool,
) -> tuple[list[ModelLaw], list[str]]:  # fmt: skip
    follow = Follow(trace, ignore_eps)
    solution = follow.run()
    found = [changing(family, fixed) for family in families(follow.parameters, solution)]
    unknown = [
        f"operation {op} of parameters, {count} times"
        for op, count in follow.unknown_operations.items()
    ]
    if solution.given_up:
        unknown.append(
            f"{solution.given_up} scales of rows and columns, linked by equations between more"
            f" than {LARGEST_BLOCK} at once, which are not solved"
        )
    return [law_of(one, shapes, ANY_LOSS) for one in found if one is not None], unknown


def _constant(shifts: list[Shift], shape: tuple[int, ...]) -> np.ndarray:
    """Which entries of a parameter may be anything, so that they never move."""
    mask = np.zeros(shape, bool)
    for shift in shifts:
        if not shift.axes:
            axes, data, _ = shift.places or ((), np.ones(1, bool).tobytes(), ())
            sizes = [n if a in axes else 1 for a, n in enumerate(shape)]
            mask |= np.frombuffer(data, bool).reshape(sizes)
    return mask


def _sums(name: str, shape: tuple[int, ...], shifts: list[Shift]) -> list[ModelLaw]:
    """Sums over the axes of a shift, for all places on the others."""
    laws: list[ModelLaw] = []
    done: list[Shift] = []
    for shift in shifts:
        rest = [a for a in range(len(shape)) if a not in shift.axes]
        sizes, index = list(shape), None
        part = ""
        if shift.places is not None:
            if len(shift.places[0]) != 1:
                if not shift.axes and shift.places[0] == tuple(range(len(shape))):
                    laws.append(_entries(name, shift))
                continue
            axis = shift.places[0][0]
            index = np.flatnonzero(np.frombuffer(shift.places[1], bool))
            sizes[axis] = len(index)
            part = f"{':,' * axis}{_span(index)}"
        rows = tuple(sizes[a] for a in rest)
        count = int(np.prod(rows))
        for before in done:
            if before.places == shift.places:
                both = before.axes | shift.axes
                count -= int(np.prod([n for a, n in enumerate(sizes) if a not in both]))
        done.append(shift)
        slot = Slot(name, _rows_first(rest, shift, index), part)
        certainty = CROSS_ENTROPY if shift.why == "cross-entropy" else ANY_LOSS
        place = name.removesuffix(".weight") if shift.why == "cross-entropy" else name
        if place.endswith(".bias") and shift.why == "cross-entropy":
            place = name
        over = ",".join("i" if a in shift.axes else ":" for a in range(len(shape)))
        text = f"sum_i {slot}[{over}]" if shift.axes else f"{slot}"
        laws.append(ModelLaw(
            f"{_KINDS[shift.why]} {place}", f"{text} ({_WORDS[shift.why]})", "sum",
            (Term(slot),), rows, max(count, 0), certainty, len(rows),
        ))  # fmt: skip
    return laws


def _entries(name: str, shift: Shift) -> ModelLaw:
    """Single entries that are not seen, such as those under a mask."""
    assert shift.places is not None
    index = np.flatnonzero(np.frombuffer(shift.places[1], bool))

    def view(x: Any) -> Any:
        import torch

        return x.reshape(-1).index_select(0, torch.from_numpy(index).to(x.device))

    slot = Slot(name, view, f"{len(index)} places")
    return ModelLaw(
        f"{_KINDS[shift.why]} {name}", f"{slot} ({_WORDS[shift.why]})", "sum", (Term(slot),),
        (len(index),), len(index), ANY_LOSS,
    )  # fmt: skip


def _span(index: np.ndarray) -> str:
    first, last = int(index[0]), int(index[-1])
    whole = last - first + 1 == len(index)
    return f"{first}:{last + 1}" if whole else f"{len(index)} places"


def _rows_first(rest: list[int], shift: Shift, index: Any) -> Callable[[Any], Any]:
    order = [*rest, *sorted(shift.axes)]

    def view(x: Any) -> Any:
        import torch

        if index is not None and shift.places is not None:
            x = x.index_select(shift.places[0][0], torch.from_numpy(index).to(x.device))
        return x.permute(order)

    return view


def _named(laws: list[ModelLaw]) -> list[ModelLaw]:
    """Names that occur twice get a number."""
    seen: dict[str, int] = {}
    named = []
    for law in laws:
        seen[law.name] = seen.get(law.name, 0) + 1
        number = seen[law.name]
        named.append(replace(law, name=f"{law.name}#{number}") if number > 1 else law)
    return named
