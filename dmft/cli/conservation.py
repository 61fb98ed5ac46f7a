"""Conservation laws of gradient flows, exactly: how many, which, and how certain.

actions:
  count       number of independent laws, with a certificate
  laws        the laws in closed form, as text, LaTeX or JSON

`dmft conservation ACTION --help` lists the kinds of architecture,
`dmft conservation ACTION KIND --help` the options of one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.conservation import Architecture

SUMMARY = "count and list conservation laws of gradient flows"
EXAMPLES = """\
  dmft conservation count linear --widths 2,5,2 --json
  dmft conservation count relu --widths 3,8,8,2 --bias
  dmft conservation laws linear --widths 3,4,2 --latex
  dmft conservation count file network.toml"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(_ACTIONS), metavar="ACTION", help="see above")
    # Parsed in `run`: the options depend on the architecture, and there are many of them.
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="KIND ...", help="architecture and its options"
    )


def run(arguments: argparse.Namespace) -> int:
    prepare, execute = _ACTIONS[arguments.action]
    parser = options.Parser(prog=f"dmft conservation {arguments.action}")
    given = prepare(parser).parse_args(arguments.words)
    given.command_line = arguments.command_line
    return execute(given)


def _with_architecture(
    add_options: Callable[[argparse.ArgumentParser], None],
) -> Callable[[options.Parser], options.Parser]:
    """A parser with one subcommand for each kind of architecture."""

    def prepare(parser: options.Parser) -> options.Parser:
        from pathlib import Path

        from dmft.conservation.architectures import KINDS

        kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
        for name, (model, implied) in KINDS.items():
            summary = (model.__doc__ or "").partition("\n")[0]
            kind = kinds.add_parser(name, help=summary, description=model.__doc__)
            _add_settings(kind, model, implied)
            add_options(kind)
        file = kinds.add_parser("file", help="an architecture described by a TOML file")
        file.add_argument("path", type=Path, metavar="FILE.toml")
        add_options(file)
        return parser

    return prepare


def _add_settings(
    parser: argparse.ArgumentParser, model: type[Architecture], implied: dict[str, Any]
) -> None:
    """One option for each setting; pydantic checks and converts the values."""
    for name, field in model.model_fields.items():
        if name == "kind" or name in implied:
            continue
        option = "--" + name.replace("_", "-")
        default = "" if field.is_required() else f"default {field.default}"
        if field.annotation is bool:
            parser.add_argument(option, dest=f"setting.{name}", default=None,
                                action=argparse.BooleanOptionalAction, help=default)  # fmt: skip
        else:
            parser.add_argument(option, dest=f"setting.{name}", help=default,
                                metavar=name.upper().replace("_", "-"))  # fmt: skip


def _architecture(given: argparse.Namespace) -> Architecture:
    from dmft.config import read_toml
    from dmft.conservation import parse_architecture

    if given.kind == "file":
        return parse_architecture(read_toml(given.path))
    table = {"kind": given.kind}
    for key, value in vars(given).items():
        if key.startswith("setting.") and value is not None:
            table[key.removeprefix("setting.")] = value
    return parse_architecture(table)


def _add_counting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--points",
        type=options.positive_integer,
        default=2,
        metavar="N",
        help="random points, each modulo another prime (default 2)",
    )
    parser.add_argument(
        "--seed", type=options.natural_number, default=0, metavar="N", help="default 0"
    )
    parser.add_argument(
        "--max-level",
        type=options.positive_integer,
        default=8,
        metavar="N",
        help="brackets of at most N generators (default 8)",
    )
    options.add_json(parser)


def _count(given: argparse.Namespace) -> int:
    from dmft.cli.output import print_json
    from dmft.conservation import count

    result = count(
        _architecture(given), points=given.points, seed=given.seed, max_level=given.max_level
    )
    certificate = result.certificate
    if given.json:
        print_json(result.to_table())
    else:
        print(f"{result.laws} independent conservation laws of {result.parameters} parameters")
        levels = ", ".join(map(str, result.trace_dimensions))
        print(f"  trace dimension by level   {levels}")
        print(f"  explained by explicit laws {certificate.lower_bound}")
        for check in certificate.checks:
            mark = "" if check.conserved else "   NOT CONSERVED"
            print(f"    {check.new:>4}  {check.law.formula}{mark}")
        print(f"  certificate                {'exact' if certificate.exact else 'upper bound'}")
        if certificate.closed:
            print(f"    closed: {certificate.tried} longer brackets at each point, nothing new")
        else:
            print("    NOT CLOSED: --max-level was reached, there may be fewer laws")
        primes = ", ".join(map(str, certificate.primes))
        print(f"    rank {', '.join(map(str, certificate.ranks))} modulo {primes}")
        for assumption in certificate.assumptions:
            print(f"    assumed: {assumption}")
    return 0 if certificate.closed or certificate.exact else 3


def _add_laws(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--latex", action="store_true", help="print LaTeX")
    options.add_json(form)  # type: ignore[arg-type]


def _laws(given: argparse.Namespace) -> int:
    from dmft.cli.output import print_json

    architecture = _architecture(given)
    laws = architecture.laws()
    if given.json:
        families = [{"name": law.name, "formula": law.formula, "latex": law.latex} for law in laws]
        print_json({"architecture": architecture.describe(), "families": families})
    elif given.latex:
        print("\\begin{align*}")
        print(" \\\\\n".join(f"  & {law.latex}" for law in laws))
        print("\\end{align*}")
    else:
        for law in laws:
            print(f"{law.name}: {law.formula}")
        if not laws:
            print("no laws in closed form are known")
    return 0


_ACTIONS: dict[str, tuple[Callable[..., Any], Callable[[argparse.Namespace], int]]] = {
    "count": (_with_architecture(_add_counting), _count),
    "laws": (_with_architecture(_add_laws), _laws),
}
