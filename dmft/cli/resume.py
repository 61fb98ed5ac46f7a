"""Continue a solve or a simulation that was interrupted or killed, from its last checkpoint.

The numbers are the same as without the interruption. A finished file is left as it is, unless
--set asks for more: replicates of a solve, a later solver.t_max of a flow, seeds of a simulation.
What is there already is not computed again, and stays readable until the new one is whole: what is
computed on the way is kept in OUT.h5.part, from which `dmft resume OUT.h5` continues."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options
from dmft.errors import InputError

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
    from dmft.store import check_output, load_checkpoint, locked
    from dmft.store.output import part_of, whole_of
    from dmft.store.schema import RUNNING, SIMULATION

    path = arguments.file
    whole = whole_of(path)
    if whole is not None:
        raise InputError(f"is kept for an extension of {whole}, name that one", str(path))
    header, _, wanted = _found(path, arguments.overrides)
    if _is_finished(header) and wanted == header.config:
        return _show(arguments, path, header.schema)
    for output in (path, part_of(path)):
        check_output(output, overwrite=True)
    with locked(path):
        # Again: who had the lock may have finished it.
        header, source, wanted = _found(path, arguments.overrides)
        if _is_finished(header) and wanted == header.config:
            return _show(arguments, path, header.schema)
        _, state = load_checkpoint(source, finished=_is_finished(header))
        own = source == path and header.status == RUNNING
        going: dict[str, Any] = {
            "state": state,
            "command_line": f"{header.command_line}; {arguments.command_line}",
            "part": None if own else part_of(path),
        }
        if header.schema == SIMULATION:
            from dmft.cli.simulating import run_ensemble

            return run_ensemble(arguments, path, wanted, **going)
        from dmft.cli.marching import march

        return march(arguments, path, wanted, **going)


def _is_finished(header: Header) -> bool:
    from dmft.store.schema import RUNNING

    return header.status != RUNNING and header.schema in _growing()


def _found(path: Path, overrides: list[str]) -> tuple[Header, Path, Config]:
    """What goes on: its header, its file, and the configuration that it is to have.

    It is the file itself, or, where that is finished, the part of an extension that was begun.

    Raises
    ------
    InputError : as `_extended`, or no file to go on from.
    """
    from dmft.store import read_header
    from dmft.store.output import part_of

    header, part = read_header(path), part_of(path)
    if not _is_begun(header, part):
        return header, path, _extended(header, overrides, path)
    begun = read_header(part)
    try:
        return begun, part, _extended(begun, overrides, part)
    except InputError as error:
        note = f"{error.message} (in {part}; delete it to give up this extension)"
        raise InputError(note, error.location) from None


def _is_begun(header: Header, part: Path) -> bool:
    """Whether a finished result has an extension under way; any other part is warned of."""
    from dmft.config import flat
    from dmft.solver.extension import check_growth
    from dmft.store import read_header
    from dmft.store.schema import RUNNING

    if header.status == RUNNING or not part.is_file():
        return False
    try:
        begun = read_header(part)
        tables = [dict(flat(each.config.to_table())) for each in (header, begun)]
        check_growth(tables[0], tables[1], _growing().get(header.schema, ()), header.status)
    except InputError as error:
        print(f"dmft: warning: not used, {part}: {error}", file=sys.stderr)
        return False
    same_kind = begun.schema == header.schema and begun.status == RUNNING
    return same_kind and begun.config != header.config


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
