"""Laws of constants that several parameters exchange: what one gains another may lose."""

from __future__ import annotations

from dmft.conservation.models.forms import ModelLaw, Slot, Term
from dmft.conservation.models.survey import ANY_LOSS
from dmft.conservation.models.tracing.additions import Additions
from dmft.conservation.models.tracing.families import Family, families, part_of, view_of
from dmft.conservation.models.tracing.recording import Trace
from dmft.conservation.models.tracing.unseen import Seen

Shapes = dict[str, tuple[int, ...]]


def exchanges(trace: Trace, seen: Seen, shapes: Shapes) -> list[ModelLaw]:
    """Sums over several parameters, beyond those of each alone.

    All constants that are not seen, less those that no parameter needs another for, are new.
    """
    walk = Additions(trace, seen)
    solution = walk.run()
    found = [
        family for family in families(walk.parameters, solution)
        if len({p.name for p in family.pieces}) > 1 and not _alone(family, seen)
    ]  # fmt: skip
    if not found:
        return []
    fresh = solution.count - Additions(trace, seen, apart=True).run().count
    surplus = sum(family.members for family in found) - fresh
    laws = []
    for n, family in enumerate(found):  # which of them are known is not told: an equal share
        share = -(-max(surplus, 0) // (len(found) - n))
        known = min(share, family.members)
        surplus -= known
        laws.append(_law(family, shapes, family.members - known))
    return laws


def _alone(family: Family, seen: Seen) -> bool:
    """Whether it is one constant that each of the parameters may gain alone."""
    return family.members == 1 and all(
        any(s.places is None for s in seen.parameters[p.name]) for p in family.pieces
    )


def _law(family: Family, shapes: Shapes, count: int) -> ModelLaw:
    terms, text = [], ""
    for piece in family.pieces:
        part = part_of(piece, shapes[piece.name])
        slot = Slot(piece.name, view_of(piece, shapes[piece.name], False), part)
        terms.append(Term(slot, piece.weight))
        size = "" if abs(piece.weight) == 1 else f"{abs(piece.weight):g} times the "
        text += f" {'+' if piece.weight > 0 else '-'} {size}sum of {slot} along all other axes"
    first, last = family.pieces[0].name, family.pieces[-1].name
    return ModelLaw(
        f"shift {first.removesuffix('.weight')}-{last.removesuffix('.weight')}",
        text.removeprefix(" + "), "sum", tuple(terms), (family.members,), count, ANY_LOSS,
    )  # fmt: skip
