"""All kinds of files that this package writes: what they are called, and what draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmft.errors import InputError
from dmft.store.schema import COLLECTION, SIMULATION, SOLUTION

_BEGINNING = 4096  # bytes of a text in which its schema stands


@dataclass(frozen=True)
class Kind:
    """What a schema is called, and the command for such a file, if there is one.

    solved : whether its configuration is that of a solve.
    """

    name: str
    command: str = ""
    solved: bool = False


KINDS = {
    SOLUTION: Kind("a solution", "dmft plot", solved=True),
    SIMULATION: Kind("a simulation", "dmft plot", solved=True),
    "dmft-theory": Kind("a prediction at a point of a sweep", "dmft info", solved=True),
    "dmft-comparison": Kind("a comparison at a point of a sweep", "dmft info", solved=True),
    COLLECTION: Kind("a collection of a sweep", "dmft sweep plot"),
    "dmft-trajectory": Kind("a trajectory", "dmft trajectory plot"),
    "dmft-trajectory-cache": Kind("a cache of `dmft trajectory map`"),
    "dmft-symmetry": Kind("a tracked run of `dmft symmetry track`", "dmft symmetry plot"),
    "dmft-noise-equilibrium": Kind("an equilibrium of `dmft symmetry equilibrium`", "dmft info"),
    "dmft-model-laws": Kind("a record of tracked conservation laws", "dmft info"),
    "dmft-bench": Kind("a file of measurements", "dmft bench"),
}


def check_kind(schema: object, wanted: Sequence[str], path: str | Path = "") -> None:
    """Refuse a file of another kind than those wanted, by its name and with what it is for.

    Raises
    ------
    InputError : as said; its location is `path`.
    """
    if schema in wanted:
        return
    words = " or ".join(KINDS[each].name for each in wanted)
    kind = KINDS.get(str(schema))
    if kind is None:
        raise InputError(f"holds a {str(schema)[:40]!r}, must be {words}", str(path))
    remedy = f" (`{kind.command}` is for it)" if kind.command else ""
    raise InputError(f"is {kind.name}{remedy}, must be {words}", str(path))


def kind_of_text(path: Path) -> str:
    """The name of the kind of a JSON file of this package; "" if it is something else."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING).decode(errors="replace")
    for schema, kind in KINDS.items():
        if f'"schema": "{schema}"' in beginning:
            return kind.name
    return ""
