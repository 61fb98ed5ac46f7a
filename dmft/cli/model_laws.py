"""`dmft conservation model`: laws of a Hugging Face model, from its configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dmft.cli import parser as options


def prepare(parser: options.Parser) -> options.Parser:
    """The options of the action."""
    parser.description = (
        "List the conservation laws of a model of transformers. Only the configuration is read:"
        " no weights are needed and nothing is downloaded."
    )
    parser.add_argument(
        "path", type=Path, metavar="CONFIG.json", help="config.json of the model, or its folder"
    )
    parser.add_argument(
        "--training", action="store_true", help="with the dropout that the configuration asks for"
    )
    options.add_json(parser)
    return parser


def execute(given: argparse.Namespace) -> int:
    """Print the laws; exit status 2 if the model cannot be built, 3 if not all is determined."""
    from dmft.cli.output import print_json
    from dmft.conservation import laws
    from dmft.conservation.models.configuration import model_of

    found = laws(model_of(given.path).train(given.training))
    status = 0 if found.determined else 3
    if given.json:
        print_json(found.to_table())
        return status
    count = found.count if found.determined else f"not determined, at least {found.count}"
    print(f"{count} conservation laws of {found.dimension} parameters of {found.model}")
    for kind, members in _by_kind(found.laws).items():
        count = sum(law.count for law in members)
        times = f", {len(members)} times" if len(members) > 1 else ""
        print(f"  {count:>8}  {kind}{times}: {members[0].formula}")
    for kind, broken in _by_kind(found.broken).items():
        print(f"  broken    {kind}: {broken[0].why}")
    for what in found.unrecognised:
        print(f"  not recognised: {what}")
    if found.unchecked:
        print(f"  not checked by gradients: {found.unchecked}")
    return status


def _by_kind(laws: Any) -> dict[str, list[Any]]:
    from dmft.conservation.models.figures import kind_of

    kinds: dict[str, list[Any]] = {}
    for law in laws:
        kinds.setdefault(kind_of(law.name), []).append(law)
    return kinds
