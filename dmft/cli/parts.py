"""What lies at OUT.h5.part: the extension of OUT.h5 that is under way, or what is none of ours."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dmft.errors import InputError
from dmft.store.output import part_of
from dmft.store.schema import RUNNING, SIMULATION, SOLUTION

if TYPE_CHECKING:
    from dmft.store import Header


@dataclass(frozen=True)
class Part:
    """What lies beside a file.

    Attributes
    ----------
    path : where an extension is kept.
    begun : header of the one that is under way there, if any.
    stranger : why what is there is none; empty also for one that the file has overtaken.
    """

    path: Path
    begun: Header | None = None
    stranger: str = ""


def growing(schema: str) -> tuple[str, ...]:
    """What may be asked for beyond what a file of this schema holds."""
    from dmft.solver.extension import GROWING

    return {SOLUTION: GROWING, SIMULATION: ("simulation.seeds",)}.get(schema, ())


def part_beside(path: Path, header: Header) -> Part:
    """What lies beside `path`, which has this header."""
    from dmft.store import read_header

    part = part_of(path)
    if header.status == RUNNING or not growing(header.schema) or not os.path.lexists(part):
        return Part(part)
    if not part.is_file():
        return Part(part, stranger="is no file")
    try:
        begun = read_header(part)
    except InputError as error:
        return Part(part, stranger=error.message)
    if begun.schema != header.schema or begun.status != RUNNING:
        return Part(part, stranger="is no unfinished extension")
    try:
        _check_growth(header, begun)
    except InputError as error:
        return Part(part, stranger="" if _holds(header, begun) else str(error))
    return Part(part) if begun.config == header.config else Part(part, begun)


def forget_part(path: Path) -> None:
    """Delete the extension of what was in `path`; what is no unfinished file is somebody else's."""
    from dmft.store import read_header

    part = part_of(path)
    with suppress(OSError, InputError):
        if read_header(part).status == RUNNING:
            part.unlink()


def _holds(header: Header, begun: Header) -> bool:
    """Whether a finished file holds all that one under way is to have."""
    try:
        _check_growth(begun, header)
    except InputError:
        return False
    return True


def _check_growth(less: Header, more: Header) -> None:
    from dmft.config import flat
    from dmft.solver.extension import check_growth

    before, wanted = (dict(flat(each.config.to_table())) for each in (less, more))
    # Of one that is overtaken it does not matter that it was under way.
    status = "done" if less.status == RUNNING else less.status
    check_growth(before, wanted, growing(less.schema), status)
