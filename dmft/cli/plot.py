"""Draw a solution or a simulation, or the main curves of several, as .png, .pdf or .svg."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmft.cli import parser as options

PLACE = 60
SUMMARY = "draw a result, or several over each other"
EXAMPLES = """\
  dmft plot out.h5 -o out.png
  dmft plot sim.h5 -o sim.pdf --overwrite
  dmft plot out.h5 --kind response_weights -o response.png
  dmft plot small.h5 large.h5 sim.h5 -o curves.png"""


class _Kinds(Sequence[str]):
    """The page and its parts, looked up when they are needed: importing them takes long."""

    def __getitem__(self, index: Any) -> Any:
        from dmft.plotting.pages import PARTS

        return ("page", *PARTS)[index]

    def __len__(self) -> int:
        return len(self[:])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, nargs="+", metavar="FILE.h5",
        help="solution or simulation; several are drawn over each other",
    )  # fmt: skip
    parser.add_argument(
        "--kind", choices=_Kinds(), default="page", metavar="KIND",
        help="the whole page, or one panel of it, of one file: %(choices)s",
    )  # fmt: skip
    options.add_output(parser, "FIG.png")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import prepare_figure
    from dmft.cli.output import print_json
    from dmft.errors import InputError

    figure, files = arguments.output, arguments.file
    prepare_figure(figure, arguments.overwrite)
    if arguments.kind != "page" and len(files) > 1:
        raise InputError(
            f"given '{arguments.kind}' of {len(files)} files, must be of one", "--kind"
        )
    if arguments.kind != "page":
        _draw_part(files[0], arguments.kind, figure)
        given: dict[str, object] = {"file": str(files[0]), "kind": arguments.kind}
    elif len(files) == 1:
        _draw_one(files[0], figure)
        given = {"file": str(files[0])}
    else:
        _draw_several(files, figure)
        given = {"files": [str(file) for file in files]}
    if arguments.json:
        print_json({**given, "figure": str(figure)})
    else:
        print(f"figure in {figure}")
    return 0


def _draw_one(file: Path, figure: Path) -> None:
    from dmft.results.solution import Solution
    from dmft.store import load, replacing

    result = load(file)

    from dmft.plotting import plot_simulation, plot_solution

    with replacing(figure) as temporary:
        if isinstance(result, Solution):
            plot_solution(result, temporary)
        else:
            plot_simulation(result, temporary)


def _draw_part(file: Path, kind: str, figure: Path) -> None:
    from dmft.store import load, replacing

    result = load(file)

    from dmft.plotting import plot_part

    with replacing(figure) as temporary:
        plot_part(result, kind, temporary)


def _draw_several(files: Sequence[Path], figure: Path) -> None:
    from dmft.errors import InputError
    from dmft.store import load, replacing

    twice = [file for file, count in Counter(files).items() if count > 1]
    if twice:
        raise InputError("given twice, must be different files", str(twice[0]))
    results = {str(file): load(file) for file in files}

    from dmft.plotting import plot_overlay

    with replacing(figure) as temporary:
        plot_overlay(results, temporary)
