"""Conservation laws of gradient flows, exactly: how many, which, and how certain.

actions:
  count       number of independent laws, with a certificate
  laws        the laws in closed form, as text, LaTeX or JSON
  polynomial  all polynomial laws up to a degree, found by exact linear algebra
  verify      laws along a gradient flow in float64, and exactly
  table       count many architectures, as Markdown
  model       the laws of a Hugging Face model, from its configuration (needs PyTorch)

`dmft conservation ACTION --help` lists the kinds of architecture,
`dmft conservation ACTION KIND --help` the options of one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dmft.cli import model_laws
from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.conservation import Architecture

PLACE = 100
SUMMARY = "count and list conservation laws of gradient flows"
EXAMPLES = """\
  dmft conservation count linear --widths 2,5,2 --json
  dmft conservation count relu --widths 3,8,8,2 --bias
  dmft conservation count attention --heads 2 --kv-heads 1 --position rotary
  dmft conservation count moe --experts 4 --top-k 2 --gate softmax --expert swiglu
  dmft conservation laws linear --widths 3,4,2 --latex
  dmft conservation polynomial linear --widths 2,2,2 --degree 2
  dmft conservation verify gpt2 --layers 2
  dmft conservation count file network.toml
  dmft conservation model config.json"""


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
            fixed = ", ".join(f"{key} = {value}" for key, value in implied.items())
            kind = kinds.add_parser(
                name,
                help=f"{model.__name__}, {fixed}" if fixed else summary,
                description=f"{summary}\n{fixed}",
            )
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
    """One option for each setting, explained by the docstrings; pydantic checks the values."""
    from dmft.explanation import explanations

    texts = explanations(model)
    for name, field in model.model_fields.items():
        if name == "kind" or name in implied:
            continue
        option = "--" + name.replace("_", "-")
        explained = texts[name].replace("%", "%%")
        if field.is_required():
            explained += " (required)"
        elif field.default is not None:
            explained += f" (default {_shown(field.default)})"
        if field.annotation is bool:
            parser.add_argument(option, dest=f"setting.{name}", default=None,
                                action=argparse.BooleanOptionalAction, help=explained)  # fmt: skip
        else:
            parser.add_argument(option, dest=f"setting.{name}", help=explained,
                                metavar=name.upper().replace("_", "-"))  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _architecture(given: argparse.Namespace) -> Architecture:
    from dmft.config import read_toml
    from dmft.conservation import parse_architecture
    from dmft.errors import InputError

    if given.kind == "file":
        try:
            return parse_architecture(read_toml(given.path))
        except InputError as error:
            raise error.within(given.path) from None
    chosen = {key: value for key, value in vars(given).items() if value is not None}
    settings = {key[8:]: value for key, value in chosen.items() if key.startswith("setting.")}
    return parse_architecture({"kind": given.kind, **settings})


def _add_counting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--float",
        action="store_true",
        help="count in float64 by singular values instead, and print their gap",
    )
    parser.add_argument(
        "--points",
        type=options.integer(1, 100),
        default=2,
        metavar="N",
        help="random points, each modulo another prime (default 2)",
    )
    _add_seed(parser)
    parser.add_argument(
        "--max-level",
        type=options.integer(1, 100),
        default=8,
        metavar="N",
        help="brackets of at most N generators (default 8)",
    )
    options.add_json(parser)


def _count(given: argparse.Namespace) -> int:
    architecture = _architecture(given)  # before anything is compiled
    from dmft.cli.output import print_json
    from dmft.conservation import count

    if given.float:
        return _count_float(given, architecture)
    result = count(architecture, points=given.points, seed=given.seed, max_level=given.max_level)
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


def _count_float(given: argparse.Namespace, architecture: Architecture) -> int:
    from dmft.cli.output import print_json
    from dmft.conservation import count_float

    result = count_float(architecture, seed=given.seed, max_level=given.max_level)
    if given.json:
        print_json(result.to_table())
    else:
        print(f"{result.laws} conservation laws of {result.parameters} parameters, in float64")
        for level, rank in enumerate(result.ranks, start=1):
            doubt = "" if rank.clear else "   NO CLEAR GAP"
            print(
                f"  level {level}: rank {rank.rank}, singular values {rank.above:.1e} |"
                f" {rank.below:.1e}{doubt}"
            )
    return 0 if result.closed else 3


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=options.integer(0, 2**63 - 1), default=0, metavar="N", help="default 0"
    )


def _add_laws(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--latex", action="store_true", help="print LaTeX")
    options.add_json(form)  # type: ignore[arg-type]


def _laws(given: argparse.Namespace) -> int:
    architecture = _architecture(given)  # before anything is compiled
    from dmft.cli.output import print_json

    laws = architecture.laws()
    if given.json:
        families = [{"name": law.name, "formula": law.formula, "latex": law.latex} for law in laws]
        print_json({"architecture": architecture.describe(), "families": families})
    elif not laws:
        print("no laws in closed form are known")
    elif given.latex:
        print("\\begin{align*}")
        print(" \\\\\n".join(f"  & {law.latex}" for law in laws))
        print("\\end{align*}")
    else:
        for law in laws:
            print(f"{law.name}: {law.formula}")
    return 0


def _add_polynomial(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--degree",
        type=options.integer(1, 1000),
        default=2,
        metavar="N",
        help="of the polynomials (default 2)",
    )
    what.add_argument(
        "--dictionary",
        action="store_true",
        help="search row and column sums and Gram matrices only, for larger networks",
    )
    _add_seed(parser)
    options.add_json(parser)


def _polynomial(given: argparse.Namespace) -> int:
    architecture = _architecture(given)  # before anything is compiled
    from dmft.cli.output import print_json
    from dmft.conservation import dictionary_laws, polynomial_laws

    if given.dictionary:
        found = dictionary_laws(architecture, seed=given.seed)
    else:
        found = polynomial_laws(architecture, given.degree, seed=given.seed)
    if given.json:
        print_json(found.to_table())
    else:
        print(
            f"{len(found.coefficients)} laws, {found.independent} of them independent, among"
            f" combinations of {len(found.quantities)} quantities"
        )
        for formula in found.formulas():
            print(f"  {formula}")
        *used, tested = found.primes
        print(f"  found modulo {', '.join(map(str, used))}; {found.equations} equations each")
        print(f"  tested with {found.equations} new equations modulo {tested}")
    return 0


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        type=options.integer(1, 10_000),
        default=50,
        metavar="N",
        help="steps of the flow (default 50)",
    )
    _add_seed(parser)
    options.add_json(parser)


def _verify(given: argparse.Namespace) -> int:
    architecture = _architecture(given)  # before anything is compiled
    from dmft.cli.output import print_json
    from dmft.conservation import verify
    from dmft.conservation.verification import TOLERANCE

    result = verify(architecture, steps=given.steps, seed=given.seed)
    if given.json:
        print_json(result.to_table())
    else:
        start, end = result.losses
        print(f"flow: loss {start:.4g} -> {end:.4g}, theta moved by {100 * result.moved:.1f} %")
        print(f"{'drift':>9}  {'exact test':<12}law")
        for drift in (*result.drifts, result.control):
            exact = "conserved" if drift.conserved else "refuted"
            print(f"{drift.drift:>9.1e}  {exact:<12}{drift.law.formula}")
        verdict = "passed" if result.passed else "FAILED"
        print(f"{verdict}: laws below {TOLERANCE:.0e} and conserved, the last one neither")
    return 0 if result.passed else 1


def _prepare_table(parser: options.Parser) -> options.Parser:
    from pathlib import Path

    parser.description = "Count the architectures of the documentation."
    parser.add_argument(
        "-o", "--output", type=Path, metavar="TABLE.md", help="default: to the screen"
    )
    options.add_overwrite(parser)
    options.add_json(parser)
    return parser


def _table(given: argparse.Namespace) -> int:
    from dmft.cli.output import print_json
    from dmft.conservation.table import as_markdown, count_all
    from dmft.store.output import check_output, replacing

    if given.output:
        check_output(given.output, overwrite=given.overwrite)
    rows = count_all()
    if given.output:
        with replacing(given.output) as temporary:
            temporary.write_text(as_markdown(rows), encoding="utf-8")
    if given.json:
        print_json({"rows": [row.to_table() for row in rows]})
    elif given.output:
        print(f"table of {len(rows)} architectures in {given.output}")
    else:
        print(as_markdown(rows), end="")
    return 0


_ACTIONS: dict[str, tuple[Callable[..., Any], Callable[[argparse.Namespace], int]]] = {
    "count": (_with_architecture(_add_counting), _count),
    "laws": (_with_architecture(_add_laws), _laws),
    "polynomial": (_with_architecture(_add_polynomial), _polynomial),
    "verify": (_with_architecture(_add_verify), _verify),
    "table": (_prepare_table, _table),
    "model": (model_laws.prepare, model_laws.execute),
}
