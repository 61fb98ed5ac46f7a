"""What `dmft sweep collect`, `plot` and `report` do."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from dmft.cli import parser as options
from dmft.errors import InputError

_PAGES = (".html", ".htm")


def add_collect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep")
    options.add_output(parser, "ALL.h5")
    parser.add_argument(
        "--packed", action=argparse.BooleanOptionalAction, default=None, help="copy the curves, or"
        " point to the results; copied by default when there are many points",
    )  # fmt: skip
    options.add_json(parser)


def run_collect(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import command, print_json
    from dmft.store import check_output, locked
    from dmft.sweep.collect import collect

    path = arguments.output
    check_output(path, overwrite=arguments.overwrite)
    with locked(path):  # removes what a killed one has left
        found = collect(
            arguments.folder,
            path,
            packed=arguments.packed,
            overwrite=arguments.overwrite,
            command_line=arguments.command_line,
        )
    counts = Counter(found.status.ravel().tolist())
    if arguments.json:
        axes = dict(zip(found.dimensions, found.shape, strict=True))
        print_json({"file": str(path), "points": found.status.size, "axes": axes, **counts})
        return 0
    words = ", ".join(f"{number} {state}" for state, number in counts.items())
    print(f"points    {found.status.size}: {words}")
    print(f"values    {', '.join(found.values)}")
    print(f"saved in {path}")
    print("next:", command("dmft", "sweep", "report", path, "-o", path.with_suffix(".html")))
    return 0


def add_plot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="ALL.h5", help="of `dmft sweep collect`")
    options.add_output(parser, "FIG.png")
    parser.add_argument(
        "--kind",
        choices=("map", "lines", "curves"),
        default="lines",
        help="phase diagram, lines along one axis, or curves over time (default lines)",
    )
    parser.add_argument("--value", default="excess_risk", metavar="NAME", help="what is drawn")
    parser.add_argument("--x", metavar="AXIS", help="across; for a map or lines")
    parser.add_argument("--y", metavar="AXIS", help="up; for a map")
    parser.add_argument("--by", metavar="AXIS", help="a line for each of its values")
    parser.add_argument(
        "--at", action="append", default=[], metavar="AXIS=VALUE", help="where on other axes"
    )


def run_plot(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import prepare_figure
    from dmft.store import replacing
    from dmft.sweep import figures
    from dmft.sweep.collection import load_collection

    prepare_figure(arguments.output, arguments.overwrite)
    collection = load_collection(arguments.file)
    at = dict(_fixed(text) for text in arguments.at)
    value, kind = arguments.value, arguments.kind
    for name in {"map": ("by",), "lines": ("y",), "curves": ("x", "y")}[kind]:
        if getattr(arguments, name) is not None:
            raise InputError(f"given with --kind {kind}, which has none", f"--{name}")
    with replacing(arguments.output) as temporary:
        if kind == "map":
            figures.plot_map(collection, temporary, value, arguments.x, arguments.y, at)
        elif kind == "lines":
            figures.plot_lines(collection, temporary, value, arguments.x, arguments.by, at)
        else:
            figures.plot_curves(collection, temporary, value, arguments.by, at)
    print(f"figure in {arguments.output}")
    return 0


def _fixed(text: str) -> tuple[str, float | str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"given {text!r}, must be AXIS=VALUE", "--at")
    try:
        return name, float(value)
    except ValueError:
        return name, value


def add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="ALL.h5", help="of `dmft sweep collect`")
    options.add_output(parser, "REPORT.html")


def run_report(arguments: argparse.Namespace) -> int:
    from dmft.store import check_output
    from dmft.sweep.collection import load_collection
    from dmft.sweep.report import write_report

    ending = arguments.output.suffix
    if ending.lower() not in _PAGES:
        raise InputError(
            f"given the ending '{ending}', allowed: {', '.join(_PAGES)}", str(arguments.output)
        )
    check_output(arguments.output, overwrite=arguments.overwrite)
    write_report(load_collection(arguments.file), arguments.output)
    print(f"report in {arguments.output}")
    return 0
