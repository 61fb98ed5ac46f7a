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
_LEAST = 8  # of a part, for its own error bar,
_MOST = 2048  # as long as there are no more in all,
_STORE = 400e6  # and their matrices take no more bytes
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


def pieces_of(parts: Sequence[Part], total: int, checkpoints: int = 1) -> list[Piece]:
    """Cut every part into pieces of about total / 32 parameters, and into 8 where parts are few.

    With many checkpoints, whose matrices are large, into fewer.
    """
    room = int(_STORE / (8 * checkpoints**2))
    goal = max(1, -(-total // max(1, min(_PIECES, room))))
    least = max(1, min(_LEAST, min(_MOST, room) // max(len(parts), 1)))
    pieces = []
    for number, part in enumerate(parts):
        rows, width = (part.count, part.width) if part.count > 1 else (part.width, 1)
        cuts = min(rows, max(least, -(-part.size // goal)))
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
    runs: list[_Run] = []
    columns: dict[tuple[str, int, int], list[int]] = {}
    for index in wanted:
        piece = pieces[index]
        part = parts[piece.part]
        if part.count > 1:  # columns of the same rows come from the same bytes and are read once
            columns.setdefault((part.tensor, piece.first, piece.last), []).append(index)
            continue
        run = _Run(part.tensor, part.start + piece.first, part.start + piece.last, (index,))
        if runs and runs[-1].precedes(run) and run.stop - runs[-1].start <= most:
            run = _Run(run.tensor, runs[-1].start, run.stop, (*runs.pop().members, index))
        runs.append(run)
    for run in runs:
        yield from _in_runs(run, pieces, most)
    for group in columns.values():
        yield from _in_columns(parts, pieces, group, most)


@dataclass(frozen=True)
class _Run:
    """Elements start to stop of a tensor: one piece, or several small ones side by side."""

    tensor: str
    start: int
    stop: int
    members: tuple[int, ...]

    def precedes(self, other: _Run) -> bool:
        return self.tensor == other.tensor and self.stop == other.start


def _in_runs(run: _Run, pieces: Sequence[Piece], most: int) -> Iterator[Unit]:
    if len(run.members) > 1:
        shares, first = [], 0
        for index in run.members:
            shares.append(Share(index, first, pieces[index].size))
            first += pieces[index].size
        yield Unit(run.tensor, run.start, run.stop, first, tuple(shares), run.members)
        return
    for start in range(run.start, run.stop, most):
        stop = min(start + most, run.stop)
        shares = [Share(run.members[0], 0, stop - start)]
        done = run.members if stop == run.stop else ()
        yield Unit(run.tensor, start, stop, stop - start, tuple(shares), done)


def _in_columns(
    parts: Sequence[Part], pieces: Sequence[Piece], group: Sequence[int], most: int
) -> Iterator[Unit]:
    part, piece = parts[pieces[group[0]].part], pieces[group[0]]
    rows = max(1, most // part.period)
    members = [(index, parts[pieces[index].part]) for index in group]
    shares = tuple(Share(index, member.start, member.width) for index, member in members)
    for start in range(piece.first, piece.last, rows):
        stop = min(start + rows, piece.last)
        done = tuple(group) if stop == piece.last else ()
        yield Unit(part.tensor, start * part.period, stop * part.period, part.period, shares, done)
