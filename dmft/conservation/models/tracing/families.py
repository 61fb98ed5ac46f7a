"""From free scales to laws: directions that act alike are the members of one family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dmft.conservation.models import forms
from dmft.conservation.models.forms import ModelLaw, Slot, gram_count
from dmft.conservation.models.tracing.scales import Scale
from dmft.conservation.models.tracing.unknowns import Solution


@dataclass(frozen=True)
class Piece:
    """Entries of a parameter that a family scales: places (members, copies) on some axes."""

    name: str
    axes: tuple[int, ...]
    weight: float
    places: np.ndarray


@dataclass(frozen=True)
class Family:
    """Directions that act alike.

    mixed : sizes of the sets of members that can be mixed by matrices; all 1 if none can.
    """

    pieces: tuple[Piece, ...]
    members: int
    mixed: bool


def families(parameters: dict[str, Scale], solution: Solution) -> list[Family]:
    """All families, in the order of the parameters."""
    rows: list[tuple[str, tuple[int, ...], np.ndarray, np.ndarray, np.ndarray]] = []
    code = np.zeros(solution.count, np.uint64)
    rng = np.random.default_rng(1)
    for name, scale in parameters.items():
        for term in scale.terms:
            places, directions, values = solution.entries(term.ids)
            if not len(places):
                continue
            for weight in np.unique(values):
                own = values == weight
                rows.append((name, term.axes, directions[own], places[own], np.array(weight)))
                counts = np.bincount(directions[own], minlength=solution.count)
                salt = rng.integers(1, 2**62, dtype=np.uint64)
                code += counts.astype(np.uint64) * salt
    sets = _sets(code, solution)
    owner = np.full(solution.count, -1)
    position = np.zeros(solution.count, np.int64)
    for n, (_, own) in enumerate(sets):
        owner[own] = n
        position[own] = np.arange(len(own))
    pieces: list[list[Piece]] = [[] for _ in sets]
    for name, axes, directions, places, weight in rows:
        order = np.lexsort((places, position[directions], owner[directions]))
        whose, first = np.unique(owner[directions[order]], return_index=True)
        for n, table in zip(whose.tolist(), np.split(places[order], first[1:]), strict=True):
            if n >= 0:
                table = table.reshape(len(sets[n][1]), -1)
                pieces[n].append(Piece(name, axes, float(weight), table))
    found = []
    for (mixed, own), each in zip(sets, pieces, strict=True):
        merged = _whole(each, parameters)
        if merged:
            found.append(_sorted(Family(tuple(merged), len(own), mixed)))
    return _stacked(found)


def _sets(code: np.ndarray, solution: Solution) -> list[tuple[bool, np.ndarray]]:
    """Members of each family that are told apart, and sets of those that are not, ascending."""
    sets: list[tuple[bool, np.ndarray]] = []
    if not len(code):
        return sets
    order = np.argsort(code, kind="stable")
    codes, first = np.unique(code[order], return_index=True)
    groups = dict(zip(codes.tolist(), np.split(order, first[1:]), strict=True))
    for one in dict.fromkeys(code[code != 0].tolist()):
        members = groups[one]
        single = solution.single[members]
        if single.any():
            sets.append((False, members[single]))
        rest = members[~single]
        for label in np.unique(solution.labels[rest]):
            own = rest[solution.labels[rest] == label]
            sets.append((len(own) > 1, own))
    return sets


def _whole(pieces: list[Piece], parameters: dict[str, Scale]) -> list[Piece]:
    """One piece for a parameter that is scaled as a whole twice; none if it cancels."""
    found: list[Piece] = []
    for piece in pieces:
        shape = parameters[piece.name].shape
        size = int(np.prod([shape[a] for a in piece.axes]))
        full = piece.places.shape == (1, size)
        same = [p for p in found if p.name == piece.name and p.axes == ()] if full else []
        if full and piece.axes != () and len(parameters[piece.name].terms) > 1:
            piece = Piece(piece.name, (), piece.weight, np.zeros((1, 1), np.int64))
        if same:
            found.remove(same[0])
            weight = same[0].weight + piece.weight
            if weight:
                found.append(Piece(piece.name, (), weight, piece.places))
        else:
            found.append(piece)
    return found


def _sorted(family: Family) -> Family:
    """Members by their places in the first piece, the first weight positive."""
    order = np.argsort(family.pieces[0].places[:, 0], kind="stable")
    sign = -1.0 if family.pieces[0].weight < 0 else 1.0
    scale = sign / min(abs(p.weight) for p in family.pieces)
    pieces = tuple(
        Piece(p.name, p.axes, p.weight * scale, p.places[order]) for p in family.pieces
    )  # fmt: skip
    return Family(pieces, family.members, family.mixed)


def _stacked(found: list[Family]) -> list[Family]:
    """Sets that differ in their places only become one family: (sets, members, copies)."""
    groups: dict[Any, list[Family]] = {}
    for family in found:
        key = (family.mixed, family.members if family.mixed else 0, tuple(
            (p.name, p.axes, p.weight, p.places.shape[1]) for p in family.pieces
        ))  # fmt: skip
        groups.setdefault(key, []).append(family)
    stacked = []
    for members in groups.values():
        first = members[0]
        axis = np.stack if first.mixed else np.concatenate
        pieces = []
        for n, piece in enumerate(first.pieces):
            tables = [family.pieces[n].places for family in members]
            pieces.append(Piece(piece.name, piece.axes, piece.weight, axis(tables)))
        stacked.append(Family(tuple(pieces), first.members, first.mixed))
    return stacked


def changing(family: Family, fixed: dict[str, np.ndarray]) -> Family | None:
    """Without the members that are made of constant entries only; None if none is left.

    fixed : by parameter, which of its entries never move.
    """
    still: Any = np.ones(1, bool)
    for piece in family.pieces:
        mask = fixed[piece.name]
        others = tuple(a for a in range(mask.ndim) if a not in piece.axes)
        still = still & mask.all(axis=others).reshape(-1)[piece.places].all(axis=-1)
    if family.mixed:
        still = np.asarray(still.all(axis=-1))
    if not still.any():
        return family
    if still.all():
        return None
    pieces = tuple(replace(p, places=p.places[~still]) for p in family.pieces)
    return replace(family, pieces=pieces, members=family.members - int(still.sum()) * (
        not family.mixed))  # fmt: skip


def law_of(family: Family, shapes: dict[str, tuple[int, ...]], certainty: str) -> ModelLaw:
    """The law of a family: squares of members, or Gram matrices of sets that can be mixed."""
    terms = tuple(
        forms.Term(
            Slot(p.name, view_of(p, shapes[p.name], family.mixed), part_of(p, shapes[p.name])),
            p.weight,
        ) for p in family.pieces
    )  # fmt: skip
    first, last = family.pieces[0], family.pieces[-1]
    places = [_place(first.name), _place(last.name)]
    between = "-".join(dict.fromkeys(places)) or "model"
    if family.mixed:
        sets, members, _ = first.places.shape
        columns = sum(p.places.shape[2] * _rest(shapes[p.name], p.axes) for p in family.pieces)
        return ModelLaw(
            f"balance {between}", _formula(family, shapes), "gram", terms, (sets, members),
            gram_count(sets, members, columns), certainty,
        )  # fmt: skip
    count = len(first.places)
    alone = all(p.axes == () for p in family.pieces) or count == 1
    several = list(dict.fromkeys(_place(p.name) for p in family.pieces))
    kind = "scale" if alone else "norms" if len(several) == 1 else "channels"
    if kind == "channels" and len(several) == 2:
        kind, between = "neurons", "-".join(several)
    elif kind == "channels":
        between = several[0]
    return ModelLaw(
        f"{kind} {between}", _formula(family, shapes), "squares", terms, (count,), count, certainty
    )


def _place(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return head if head and tail in ("weight", "bias") else name


def _rest(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return int(np.prod([n for a, n in enumerate(shape) if a not in axes]))


def view_of(piece: Piece, shape: tuple[int, ...], mixed: bool) -> Callable[[Any], Any]:
    """(members, copies, rest), or (sets, copies, members, rest) to be mixed."""
    axes = piece.axes
    rest = [a for a in range(len(shape)) if a not in axes]
    size = int(np.prod([shape[a] for a in axes]))
    order = [*axes, *rest]
    places = piece.places if not mixed else piece.places.transpose(0, 2, 1)
    plain = places.size == size and bool((places.reshape(-1) == np.arange(size)).all())
    lead = places.shape

    def view(x: Any) -> Any:
        import torch

        x = x.permute(order).reshape(size, -1)
        if not plain:
            index = torch.from_numpy(np.ascontiguousarray(places.reshape(-1))).to(x.device)
            x = x[index]
        return x.reshape(*lead, x.shape[-1])

    return view


def part_of(piece: Piece, shape: tuple[int, ...]) -> str:
    """Which entries of a fused parameter."""
    size = int(np.prod([shape[a] for a in piece.axes]))
    if piece.places.size == size:
        return ""
    flat = np.sort(piece.places.reshape(-1))
    first, last = int(flat[0]), int(flat[-1])
    if len(piece.axes) == 1 and last - first + 1 == len(flat):
        before = ":," * piece.axes[0]
        return f"{before}{first}:{last + 1}"
    return f"{len(flat)} places"


def _formula(family: Family, shapes: dict[str, tuple[int, ...]]) -> str:
    text = ""
    for piece in family.pieces:
        sign = " + " if piece.weight > 0 else " - "
        size = "" if abs(piece.weight) == 1 else f"{abs(piece.weight):g} "
        part = part_of(piece, shapes[piece.name])
        name = f"{piece.name}[{part}]" if part else piece.name
        rank = len(shapes[piece.name])
        if family.mixed:
            columns = piece.axes and piece.axes[0] > 0
            text += f"{sign}{size}" + (f"{name}^T {name}" if columns else f"{name} {name}^T")
        elif piece.axes == () or piece.places.size == piece.places.shape[-1]:
            text += f"{sign}{size}|{name}|^2"
        else:
            index = ",".join("k" if a == piece.axes[-1] else ":" for a in range(rank))
            index = "k" if piece.axes[-1] == 0 else index
            text += f"{sign}{size}|{name}[{index}]|^2"
    return text.removeprefix(" + ")
