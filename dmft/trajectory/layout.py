"""How the work is cut: parts (tensors or heads) into pieces, pieces into units.

A *piece* has a Gram matrix of its own, which is stored; pieces are the blocks of the jackknife and
what survives a kill. A large part has several, a small one a single piece. A *unit* is what is
read and multiplied at once: one run of elements of a tensor, from all checkpoints. Neither depends
on filters, threads or memory, so that results do not either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dmft.trajectory.attention import Part

_PIECES = 32  # of a model, if it were a single tensor
_UNIT = 2**24  # elements read at once, over all checkpoints
_SMALLEST = 4096


@dataclass(frozen=True)
class Piece:
    """Rows first to last of a part (of its only row: elements), with a name for the cache."""

    part: int
    first: int
    last: int
    size: int
    name: str


@dataclass(frozen=True)
class Share:
    """The columns of a unit, seen as (rows, period), that belong to a piece."""

    piece: int
    first: int
    width: int


@dataclass(frozen=True)
class Unit:
    """Elements start to stop of a tensor and the pieces that they are shares of.

    complete : pieces that are finished with this unit.
    """

    tensor: str
    start: int
    stop: int
    period: int
    shares: tuple[Share, ...]
    complete: tuple[int, ...]


def pieces_of(parts: Sequence[Part], total: int) -> list[Piece]:
    """Cut every part into pieces of about total / 32 parameters."""
    goal = max(1, -(-total // _PIECES))
    pieces = []
    for number, part in enumerate(parts):
        rows, width = (part.count, part.width) if part.count > 1 else (part.width, 1)
        cuts = min(rows, -(-part.size // goal))
        for i in range(cuts):
            first, last = rows * i // cuts, rows * (i + 1) // cuts
            name = part.name if cuts == 1 else f"{part.name} ({first}:{last})"
            pieces.append(Piece(number, first, last, (last - first) * width, name))
    return pieces


def units_of(
    parts: Sequence[Part], pieces: Sequence[Piece], wanted: Sequence[int], checkpoints: int
) -> Iterator[Unit]:
    """The units of the wanted pieces (their indices), in the order of the files."""
    most = max(_SMALLEST, _UNIT // checkpoints)
    together: dict[tuple[str, int, int], list[int]] = {}
    for index in wanted:
        piece = pieces[index]
        part = parts[piece.part]
        # Columns of the same rows come from the same bytes and are read once.
        key = (part.tensor, *((piece.first, piece.last) if part.count > 1 else (-1, index)))
        together.setdefault(key, []).append(index)
    for group in together.values():
        piece = pieces[group[0]]
        part = parts[piece.part]
        if part.count == 1:
            yield from _run(part, piece, group[0], most)
        else:
            yield from _columns(part, [(i, parts[pieces[i].part]) for i in group], piece, most)


def _run(part: Part, piece: Piece, index: int, most: int) -> Iterator[Unit]:
    for start in range(piece.first, piece.last, most):
        stop = min(start + most, piece.last)
        share = Share(index, 0, stop - start)
        done = (index,) if stop == piece.last else ()
        yield Unit(part.tensor, part.start + start, part.start + stop, stop - start, (share,), done)


def _columns(
    part: Part, members: list[tuple[int, Part]], piece: Piece, most: int
) -> Iterator[Unit]:
    rows = max(1, most // part.period)
    shares = tuple(Share(index, member.start, member.width) for index, member in members)
    for start in range(piece.first, piece.last, rows):
        stop = min(start + rows, piece.last)
        done = tuple(index for index, _ in members) if stop == piece.last else ()
        yield Unit(part.tensor, start * part.period, stop * part.period, part.period, shares, done)
