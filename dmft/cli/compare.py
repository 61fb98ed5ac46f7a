"""Compare a mean-field solution with a simulation of the same problem.

Exits with 0 whether or not they agree; the answer is in the words and in the JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from dmft.cli import parser as options

PLACE = 40
SUMMARY = "compare a solution with a simulation"
EXAMPLES = """\
  dmft compare out.h5 sim.h5 --plot comparison.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("solution", type=Path, metavar="OUT.h5", help="output of `dmft solve`")
    parser.add_argument("simulation", type=Path, metavar="SIM.h5", help="of `dmft simulate`")
    parser.add_argument("--plot", type=Path, metavar="FIG.png", help="also draw both")
    options.add_overwrite(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import load_simulation, load_solution, prepare_figure
    from dmft.cli.output import print_json
    from dmft.errors import InputError
    from dmft.results.comparison import compare

    if arguments.plot is not None:
        prepare_figure(arguments.plot, arguments.overwrite)
    solution = load_solution(arguments.solution)
    simulation = load_simulation(arguments.simulation)
    try:
        comparison = compare(solution, simulation)
    except InputError as error:
        raise InputError(error.message, str(arguments.simulation)) from None
    if arguments.plot is not None:
        from dmft.plotting import plot_comparison
        from dmft.store import replacing

        with replacing(arguments.plot) as temporary:
            plot_comparison(solution, simulation, temporary)
    if arguments.json:
        figure = None if arguments.plot is None else str(arguments.plot)
        files = {"solution": str(arguments.solution), "simulation": str(arguments.simulation)}
        print_json({**files, **comparison.to_dict(), "figure": figure})
        return 0
    print(comparison.table())
    if arguments.plot is not None:
        print(f"figure in {arguments.plot}")
    return 0
