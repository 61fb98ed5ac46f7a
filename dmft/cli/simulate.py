"""Simulate an ensemble of finite networks, to compare the mean field with.

The settings are those of [problem], [dynamics], [simulation] and solver.t_max."""

from __future__ import annotations

import argparse

from dmft.cli import parser as options

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
    from dmft.cli.output import command, curve_table, curves, print_json
    from dmft.cli.progress import progress_callback
    from dmft.config import load_config
    from dmft.store import locked, save

    config = load_config(arguments.config, arguments.overrides)
    path = arguments.output
    prepare_output(path, arguments.overwrite, inputs=[arguments.config])
    with locked(path):
        from threadpoolctl import threadpool_limits

        from dmft.simulation import simulate

        with threadpool_limits(arguments.threads), progress_callback(arguments, "simulate") as show:
            simulation = simulate(
                config.problem,
                **config.simulation.model_dump(),
                t_max=config.solver.t_max,
                progress=show,
            )
        save(path, simulation, overwrite=True, command_line=arguments.command_line, config=config)
    if arguments.json:
        table = {"file": str(path), "status": "done", "reason": "", **curves(simulation)}
        print_json({**table, "seed": simulation.seed})
    elif not arguments.quiet:
        print(curve_table(simulation))
        print(f"saved in {path}")
        print("next:", command("dmft", "compare", "OUT.h5", path))
    return 0
