"""Continue a solve or a simulation that was interrupted or killed, from its last checkpoint.

The numbers are the same as without the interruption. A finished file is left as it is, unless
--set asks for more: replicates of a solve, a later solver.t_max of a flow, seeds of a simulation.
What is there already is not computed again. When that fails the file stays as it was."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.config import Config
    from dmft.store import Header

PLACE = 20
SUMMARY = "continue or extend a solve or a simulation"
EXAMPLES = """\
  dmft resume out.h5
  dmft resume out.h5 --set solver.t_max=1e4
  dmft resume sim.h5 --set simulation.seeds=32"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="OUT.h5", help="output of `dmft solve` or `dmft simulate`"
    )
    options.add_overrides(parser)
    options.add_running(parser)
    options.add_checkpoints(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.store import check_output, load_checkpoint, locked, read_header
    from dmft.store.schema import RUNNING, SIMULATION

    path = arguments.file
    header = read_header(path)
    finished = header.status != RUNNING and header.schema in _growing()
    wanted = _extended(header, arguments.overrides, path)
    if finished and wanted == header.config:
        return _show(arguments, path, header.schema)
    check_output(path, overwrite=True)
    with locked(path):
        _, state = load_checkpoint(path, finished=finished)
        line = f"{header.command_line}; {arguments.command_line}"
        if header.schema == SIMULATION:
            from dmft.cli.simulating import run_ensemble

            return run_ensemble(arguments, path, wanted, state=state, command_line=line)
        from dmft.cli.marching import march

        return march(arguments, path, wanted, state=state, command_line=line, finished=finished)


def _show(arguments: argparse.Namespace, path: Path, schema: str) -> int:
    """Print what is finished already."""
    from dmft.cli import marching, simulating
    from dmft.cli.files import load_simulation, load_solution
    from dmft.store.schema import SIMULATION

    if not arguments.quiet:
        print(f"dmft: {path} is finished already, nothing to resume", file=sys.stderr)
    if schema == SIMULATION:
        simulating.report(arguments, path, load_simulation(path))
        return 0
    solution = load_solution(path)
    marching.report(arguments, path, solution)
    return marching.status_of(solution)


def _extended(header: Header, overrides: list[str], path: Path) -> Config:
    """The configuration of a file with what is asked for beyond it.

    Raises
    ------
    InputError : a setting that makes another computation of it, or less than there is.
    """
    from dmft.config import Config, config_of, flat, sources_of
    from dmft.resolution import Source
    from dmft.solver.extension import check_growth

    if not overrides:
        return header.config
    before = header.config.to_table()
    wanted = config_of(Source(before, f"in {path}"), *sources_of(Config, None, overrides))
    old, new = dict(flat(before)), dict(flat(wanted.to_table()))
    check_growth(old, new, _growing().get(header.schema, ()), header.status)
    return wanted


def _growing() -> dict[str, tuple[str, ...]]:
    """What may be asked for beyond what a file holds, by its schema."""
    from dmft.solver.extension import GROWING
    from dmft.store.schema import SIMULATION, SOLUTION

    return {SOLUTION: GROWING, SIMULATION: ("simulation.seeds",)}
