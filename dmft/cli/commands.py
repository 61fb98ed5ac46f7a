"""The commands of the program: modules of this folder that have a place in its help.

Each has the line `PLACE = n`, by which commands are sorted, with SUMMARY, EXAMPLES,
add_arguments(parser) and run(arguments) -> exit status. They import what computes only when they
run. What other modules here import is loaded by whoever needs it, so commands are found by their
text, not by importing everything.
"""

from __future__ import annotations

import re
from importlib.resources import files

_PLACE = re.compile(r"^PLACE = (\d+)$", re.MULTILINE)


def _found() -> tuple[str, ...]:
    places = {}
    for module in files("dmft.cli").iterdir():
        if module.name.endswith(".py"):
            place = _PLACE.search(module.read_text(encoding="utf-8"))
            if place is not None:
                places[module.name.removesuffix(".py")] = int(place[1])
    return tuple(sorted(places, key=lambda name: (places[name], name)))


COMMANDS = _found()
