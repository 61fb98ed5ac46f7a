"""Measure the solver: CPU time to a given accuracy against other methods, growth, ceilings.

suites:
  time-to-accuracy  this solver, the classical algorithm and ensembles of finite networks
  classification    the same with the logistic loss
  growth            work counters against final time, paths and tolerance
  ceiling           rates of the solver's main loop against those of the machine
  checkpoints       rate of the Gram matrices of checkpoints against reading and product

Measurements are kept in the output file as they are made: a run that was stopped goes on from
there, and a finished one only prints. Everything runs on one thread."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dmft.cli import parser as options
from dmft.errors import InputError

PLACE = 140
SUMMARY = "measure speed, growth of work and ceilings"
EXAMPLES = """\
  dmft bench -o bench.json --report benchmarks.md
  dmft bench time-to-accuracy --problem P0 -o bench.json
  dmft bench growth ceiling -o bench.json --json
  dmft bench -o bench.json --again mean-field    # measure this solver anew, keep the rivals
  dmft bench --quick -o quick.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all, see above")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="BENCH.json", help="file to write"
    )
    parser.add_argument(
        "--problem", dest="problems", action="append", metavar="NAME",
        help="P0 ... P3, or of classification C0 ... C3, C0-loss ...; repeatable, default all",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument(
        "--rival-seconds", type=options.positive_number, default=30.0, metavar="S",
        help="rivals that take longer than this are not run but predicted by their measured laws"
        " (default 30)",
    )  # fmt: skip
    parser.add_argument(
        "--again", action="append", default=[], metavar="TEXT",
        help="measure anew what has TEXT in its name; repeatable",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="PAGE.md", help="write a page and pictures")
    parser.add_argument("--quiet", action="store_true", help="no table, no progress")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from threadpoolctl import threadpool_limits

    from dmft.bench.cases import CASES
    from dmft.bench.ledger import Ledger
    from dmft.bench.page import race_table, write
    from dmft.bench.suites import RACES, SUITES, estimate
    from dmft.bench.suites import run as measure
    from dmft.cli.output import print_json
    from dmft.store import check_output, locked

    suites = _chosen(arguments.suites, SUITES, "SUITE")
    problems = _chosen(arguments.problems or (), tuple(CASES), "--problem")
    for path in (arguments.output, arguments.report):
        if path is not None:
            check_output(path, overwrite=True)

    def say(text: str) -> None:
        if not arguments.quiet:
            print(text, file=sys.stderr, flush=True)

    with locked(arguments.output), threadpool_limits(1):
        ledger = Ledger(arguments.output, say)
        for text in arguments.again:
            if not ledger.forget(text):
                raise InputError(f"given {text!r}, which is in the name of no record", "--again")
        seconds = estimate(suites, problems, arguments.quick, ledger)
        say(f"this will take about {seconds / 60:.0f} minutes of CPU time")
        measure(suites, problems, arguments.quick, ledger, arguments.rival_seconds)
        if arguments.report is not None:
            write(ledger, arguments.report)
    if arguments.json:
        print_json({"file": str(arguments.output), **ledger.head, **ledger.results})
    elif not arguments.quiet:
        for suite in RACES:
            if race := ledger.results.get(suite):
                print(race_table(race))
        print(f"saved in {arguments.output}")
        if arguments.report is not None:
            print(f"page in {arguments.report}")
    return 0


def _chosen(given: list[str] | tuple[str, ...], allowed: tuple[str, ...], where: str) -> list[str]:
    for name in given:
        if name not in allowed:
            raise InputError(f"given '{name}', allowed: {', '.join(allowed)}", where)
    return [name for name in allowed if not given or name in given]
