"""Continue a solve or a simulation that was interrupted or killed, from its last checkpoint.

The numbers are the same as without the interruption. A finished file is left as it is, unless
--set asks for more: replicates of a solve, a later solver.t_max of a flow, seeds of a simulation.
What is there already is not computed again, and stays readable until the new one is whole: what is
computed on the way is kept in OUT.h5.part, from which `dmft resume OUT.h5` continues."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.config import Config
    from dmft.store import Header

# What a state that another program has changed may end in.
_OF_A_STATE = (InputError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
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
        return _show(arguments, path, header)
    for output in (path, part_of(path)):
        check_output(output, overwrite=True)
    with locked(path):
        # Again: who had the lock may have finished it.
        header, source, wanted = _found(path, arguments.overrides)
        if _is_finished(header) and wanted == header.config:
            return _show(arguments, path, header)
        own = source == path and header.status == RUNNING
        with _remedy_told(source, header, is_part=source != path):
            _, state = load_checkpoint(source, finished=_is_finished(header))
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


@contextmanager
def _remedy_told(source: Path, header: Header, *, is_part: bool) -> Iterator[None]:
    """Say of a state that is of no use where it is kept, and what is left to do."""
    from dmft.store.integrity import verify
    from dmft.texts import words_of

    own = verify(source)
    try:
        yield
    except _OF_A_STATE as error:
        if isinstance(error, InputError):
            if error.location not in (str(source), "resume"):
                raise
            said = error.message
        elif own:
            raise  # nobody has changed what this package wrote: it is at fault itself
        else:
            said = f"holds a damaged state, {type(error).__name__} {words_of(error)}".rstrip()
        if is_part:
            remedy = "delete it to give up this extension"
        elif _is_finished(header):
            remedy = "it cannot be extended"
        else:
            remedy = "start again with --overwrite"
        raise InputError(f"{said}; {remedy}", str(source)) from None


def _is_finished(header: Header) -> bool:
    from dmft.cli.parts import growing
    from dmft.store.schema import RUNNING

    return header.status != RUNNING and bool(growing(header.schema))


def _found(path: Path, overrides: list[str]) -> tuple[Header, Path, Config]:
    """What goes on: its header, its file, and the configuration that it is to have.

    It is the file itself, or, where that is finished, the part of an extension that was begun.

    Raises
    ------
    InputError : as `_extended`, no file to go on from, or no place for an extension.
    """
    from dmft.cli.parts import part_beside
    from dmft.store import read_header

    header = read_header(path)
    part = part_beside(path, header)
    if part.begun is None:
        wanted = _extended(header, overrides, path)
        if part.stranger and wanted != header.config:
            note = f"is in the way of an extension, move or delete it ({part.stranger})"
            raise InputError(note, str(part.path))
        return header, path, wanted
    try:
        return part.begun, part.path, _extended(part.begun, overrides, part.path)
    except InputError as error:
        note = f"{error.message} (in {part.path}; delete it to give up this extension)"
        raise InputError(note, error.location) from None


def _show(arguments: argparse.Namespace, path: Path, header: Header) -> int:
    """Print what is finished already."""
    from dmft.cli import marching, simulating
    from dmft.cli.files import load_simulation, load_solution
    from dmft.cli.parts import part_beside
    from dmft.store.schema import SIMULATION

    part = part_beside(path, header)
    if part.stranger:
        print(f"dmft: warning: not used, {part.path}: {part.stranger}", file=sys.stderr)
    if header.schema == SIMULATION:
        simulation = load_simulation(path)
        _say_finished(arguments, path)
        simulating.report(arguments, path, simulation)
        return 0
    solution = load_solution(path)
    _say_finished(arguments, path)
    marching.report(arguments, path, solution)
    return marching.status_of(solution)


def _say_finished(arguments: argparse.Namespace, path: Path) -> None:
    if not arguments.quiet:
        print(f"dmft: {path} is finished already, nothing to resume", file=sys.stderr)


def _extended(header: Header, overrides: list[str], path: Path) -> Config:
    """The configuration of a file with what is asked for beyond it.

    Raises
    ------
    InputError : a setting that makes another computation of it, or less than there is.
    """
    from dmft.cli.parts import growing
    from dmft.config import Config, config_of, flat, sources_of
    from dmft.resolution import Source
    from dmft.solver.extension import check_growth

    if not overrides:
        return header.config
    before = header.config.to_table()
    wanted = config_of(Source(before, f"in {path}"), *sources_of(Config, None, overrides))
    old, new = dict(flat(before)), dict(flat(wanted.to_table()))
    check_growth(old, new, growing(header.schema), header.status)
    return wanted
