"""All laws that one trace proves, and what an eps breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dmft.conservation.models.forms import ModelLaw, Slot, Term
from dmft.conservation.models.survey import ANY_LOSS, CROSS_ENTROPY, Broken
from dmft.conservation.models.tracing.families import families, law_of
from dmft.conservation.models.tracing.follow import Follow
from dmft.conservation.models.tracing.recording import Trace
from dmft.conservation.models.tracing.shifts import Shift, both
from dmft.conservation.models.tracing.sources import Readers, exchanges
from dmft.conservation.models.tracing.unknowns import LARGEST_BLOCK
from dmft.conservation.models.tracing.unseen import Uses, unseen

_KINDS = {
    "cross-entropy": "output sums", "softmax": "softmax sums", "norm": "stream mean",
    "batch norm": "bias", "unused": "unused",
}  # fmt: skip
_WORDS = {
    "cross-entropy": "a common shift of all logits", "softmax": "a shift of what softmax sees",
    "norm": "the norm subtracts it", "batch norm": "the norm subtracts it",
    "unused": "no output depends on it",
}  # fmt: skip


def findings(trace: Trace, loss: str) -> tuple[list[ModelLaw], list[Broken], list[str]]:
    """Laws, quantities that are broken, and operations about which nothing is known."""
    shapes = {name: value.shape for name, value in trace.parameters.items()}
    uses: Uses = {}
    shifts = unseen(trace, cross_entropy=loss == CROSS_ENTROPY, uses=uses)
    unused = {n for n, own in shifts.items() if any(not s.axes and not s.places for s in own)}
    laws, unknown = _scales(trace, shapes, unused, ignore_eps=False)
    known = {law.formula for law in laws}
    broken = [
        Broken(law.name, law.formula, "the eps of a norm")
        for law in _scales(trace, shapes, unused, ignore_eps=True)[0] if law.formula not in known
    ]  # fmt: skip
    for name, own in shifts.items():
        laws += _sums(name, shapes[name], own)
    laws += _exchanges(trace, shifts, uses, shapes)
    if loss != CROSS_ENTROPY:
        have = {law.name for law in laws}
        for name, own in unseen(trace, cross_entropy=True).items():
            for law in _sums(name, shapes[name], own):
                if law.name not in have and law.certainty == CROSS_ENTROPY:
                    why = "needs cross-entropy over the outputs"
                    broken.append(Broken(law.name, law.formula, why))
    return _named(laws), broken, unknown


def _scales(
    trace: Trace, shapes: dict[str, tuple[int, ...]], unused: set[str], *, ignore_eps: bool
) -> tuple[list[ModelLaw], list[str]]:
    follow = Follow(trace, ignore_eps)
    solution = follow.run()
    used = {name: scale for name, scale in follow.parameters.items() if name not in unused}
    found = families(used, solution)
    unknown = [
        f"operation {op} of parameters, {count} times"
        for op, count in follow.unknown_operations.items()
    ]
    if solution.given_up:
        unknown.append(
            f"{solution.given_up} scales of rows and columns, linked by equations between more"
            f" than {LARGEST_BLOCK} at once, which are not solved"
        )
    return [law_of(family, shapes, ANY_LOSS) for family in found], unknown


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


def _exchanges(
    trace: Trace, shifts: dict[str, list[Shift]], uses: Uses, shapes: dict[str, tuple[int, ...]]
) -> list[ModelLaw]:
    """What one parameter may gain and another lose."""
    others: dict[str, list[Shift] | None] = {}
    exact: dict[str, bool] = {}
    for name, own in uses.items():
        if len(own) == 1:
            others[name] = None
        elif [op for op, _ in own].count("embedding") == 1:
            rest = [seen for op, seen in own if op != "embedding"]
            total = rest[0]
            for more in rest[1:]:
                total = both(total, more)
            others[name] = total
            exact[name] = not any(s.why != "cross-entropy" and s.axes <= {0} for s in total)
    laws = []
    for exchange in exchanges(trace, Readers(others)):
        terms, text, means = [], "", True
        for name, axis, region, sign in (exchange.first, exchange.second):
            part = "" if region is None else f"{':,' * region[0]}{region[1]}:{region[2]}"
            slot = Slot(name, _axis_first(axis, region), part)
            terms.append(Term(slot, float(sign * exchange.first[3])))
            text += f" {'+' if terms[-1].weight > 0 else '-'} sum of {slot} along all other axes"
            means &= any(s.places is None for s in shifts[name])
        first, second = exchange.first[0], exchange.second[0]
        rows = (shapes[first][exchange.first[1]],)
        certainty = CROSS_ENTROPY if exact.get(first) or exact.get(second) else ANY_LOSS
        laws.append(ModelLaw(
            f"shift {first.removesuffix('.weight')}-{second.removesuffix('.weight')}",
            text.removeprefix(" + "), "sum", tuple(terms), rows, rows[0] - int(means), certainty,
        ))  # fmt: skip
    return laws


def _axis_first(own: int, region: tuple[int, int, int] | None) -> Callable[[Any], Any]:
    def view(x: Any) -> Any:
        if region is not None:
            x = x.narrow(region[0], region[1], region[2] - region[1])
        return x.movedim(own, 0)

    return view


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
    import dataclasses

    seen: dict[str, int] = {}
    named = []
    for law in laws:
        seen[law.name] = seen.get(law.name, 0) + 1
        number = seen[law.name]
        named.append(dataclasses.replace(law, name=f"{law.name}#{number}") if number > 1 else law)
    return named
