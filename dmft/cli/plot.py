"""Draw the curves of a solution or a simulation as .png, .pdf or .svg."""

from __future__ import annotations

import argparse
from pathlib import Path

from dmft.cli import parser as options

SUMMARY = "draw a result"
EXAMPLES = """\
  dmft plot out.h5 -o out.png
  dmft plot sim.h5 -o sim.pdf --overwrite"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.h5", help="solution or simulation")
    options.add_output(parser, "FIG.png")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import prepare_figure
    from dmft.cli.output import print_json
    from dmft.results.solution import Solution
    from dmft.store import load, replacing

    figure = arguments.output
    prepare_figure(figure, arguments.overwrite)
    result = load(arguments.file)

    from dmft.plotting import plot_simulation, plot_solution

    with replacing(figure) as temporary:
        if isinstance(result, Solution):
            plot_solution(result, temporary)
        else:
            plot_simulation(result, temporary)
    if arguments.json:
        print_json({"file": str(arguments.file), "figure": str(figure)})
    else:
        print(f"figure in {figure}")
    return 0
