"""Files that commands are given: checks before the work, results of the kind that is needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli.output import command, print_json
from dmft.errors import InputError
from dmft.results.solution import Solution
from dmft.store import check_output, load, read_header, replacing
from dmft.store.schema import RUNNING

if TYPE_CHECKING:
    from dmft.results.simulation import Simulation

_FIGURES = (".png", ".pdf", ".svg")


def prepare_output(path: Path, overwrite: bool, inputs: Sequence[Path | None]) -> None:
    """Refuse an output that cannot be written or that would replace an input.

    Raises
    ------
    InputError : as said.
    """
    for given in inputs:
        if given is not None and path.exists() and given.exists() and path.samefile(given):
            raise InputError("given as input and as output, must be two files", str(path))
    if not overwrite and _is_unfinished(path):
        raise InputError(
            f"holds an unfinished solve, {command('dmft', 'resume', path)} continues it, "
            "--overwrite starts again",
            str(path),
        )
    check_output(path, overwrite=overwrite)


def prepare_figure(path: Path, overwrite: bool) -> None:
    """Refuse a figure that cannot be written or has an unknown ending.

    Raises
    ------
    InputError : as said.
    """
    if path.suffix.lower() not in _FIGURES:
        raise InputError(
            f"given the ending '{path.suffix}', allowed: {', '.join(_FIGURES)}", str(path)
        )
    check_output(path, overwrite=overwrite)


def load_solution(path: Path) -> Solution:
    """Load a solution; warn if it did not converge.

    Raises
    ------
    InputError : unreadable, or something else than a solution.
    """
    result = load(path)
    if not isinstance(result, Solution):
        raise InputError("is a simulation, must be a solution (of `dmft solve`)", str(path))
    if result.status != "done":
        print(f"dmft: warning: {path}: {result.status}, {result.reason}", file=sys.stderr)
    return result


def load_simulation(path: Path) -> Simulation:
    """Load a simulation.

    Raises
    ------
    InputError : unreadable, or something else than a simulation.
    """
    result = load(path)
    if isinstance(result, Solution):
        raise InputError("is a solution, must be a simulation (of `dmft simulate`)", str(path))
    return result


def _is_unfinished(path: Path) -> bool:
    with suppress(InputError):
        return read_header(path).status == RUNNING
    return False


def draw_saved(
    arguments: argparse.Namespace,
    load_report: Callable[[Path], Any],
    plot_report: Callable[[Any, Path], None],
) -> None:
    """Draw what `arguments.file` holds into `arguments.output`, and say so.

    Raises
    ------
    InputError : a figure that cannot be written, or a file that cannot be read.
    """
    figure = arguments.output
    prepare_figure(figure, arguments.overwrite)
    report = load_report(arguments.file)
    with replacing(figure) as temporary:
        plot_report(report, temporary)
    if arguments.json:
        print_json({"file": str(arguments.file), "figure": str(figure)})
    else:
        print(f"figure in {figure}")
