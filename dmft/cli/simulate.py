"""Simulate an ensemble of finite networks, to compare the mean field with.

The settings are those of [problem], [dynamics], [simulation] and solver.t_max. Finished runs are
kept in the output, so that `dmft resume` continues after an interruption."""

from __future__ import annotations

import argparse

from dmft.cli import parser as options

PLACE = 30
SUMMARY = "simulate finite networks"
EXAMPLES = """\
  dmft simulate -o sim.h5
  dmft simulate config.toml -o sim.h5 --set simulation.dimension=4000 --set simulation.seeds=16"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_output(parser, "SIM.h5")
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.files import prepare_output
    from dmft.cli.simulating import run_ensemble
    from dmft.config import load_config
    from dmft.store import locked

    config = load_config(arguments.config, arguments.overrides)
    path = arguments.output
    prepare_output(path, arguments.overwrite, inputs=[arguments.config])
    with locked(path):
        line = arguments.command_line
        return run_ensemble(arguments, path, config, state=None, command_line=line)
