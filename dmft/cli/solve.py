"""Solve the mean-field equations of a problem; the result goes to an HDF5 file.

While it runs, the file holds checkpoints: `dmft resume OUT.h5` continues after an interruption,
a crash or the end of a batch job."""

from __future__ import annotations

import argparse

from dmft.cli import parser as options

PLACE = 10
SUMMARY = "solve the mean-field equations"
EXAMPLES = """\
  dmft solve -o out.h5
  dmft solve config.toml -o out.h5 --set problem.noise_std=0.3 --set solver.t_max=50
  dmft solve -o out.h5 --set problem.teacher.kind=rademacher --json > out.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_output(parser, "OUT.h5")
    options.add_running(parser)
    options.add_checkpoints(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import prepare_output
    from dmft.cli.marching import march
    from dmft.config import load_config
    from dmft.store import locked

    config = load_config(arguments.config, arguments.overrides)
    path = arguments.output
    prepare_output(path, arguments.overwrite, inputs=[arguments.config])
    with locked(path):
        return march(arguments, path, config, state=None, command_line=arguments.command_line)
