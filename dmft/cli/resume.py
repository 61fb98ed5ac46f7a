"""Continue a solve that was interrupted or killed, from its last checkpoint.

The numbers are the same as without the interruption. A finished file is left as it is,
and its exit status is that of `dmft solve`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dmft.cli import parser as options

SUMMARY = "continue an interrupted solve"
EXAMPLES = """\
  dmft resume out.h5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="OUT.h5", help="output of `dmft solve`")
    options.add_running(parser)
    options.add_checkpoints(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import load_solution
    from dmft.cli.marching import march, report, status_of
    from dmft.store import check_output, load_checkpoint, locked, read_header
    from dmft.store.schema import RUNNING, SOLUTION

    path = arguments.file
    header = read_header(path)
    if header.schema == SOLUTION and header.status != RUNNING:
        solution = load_solution(path)
        if not arguments.quiet:
            print(f"dmft: {path} is finished already, nothing to resume", file=sys.stderr)
        report(arguments, path, solution)
        return status_of(solution)
    check_output(path, overwrite=True)
    with locked(path):
        config, state = load_checkpoint(path)
        command_line = f"{header.command_line}; {arguments.command_line}"
        return march(arguments, path, config, state=state, command_line=command_line)
