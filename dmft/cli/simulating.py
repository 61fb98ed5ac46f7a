"""What `dmft simulate` and `dmft resume` share: an ensemble that keeps every finished run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmft.cli.marching import Checkpoints, interrupted, previous_file_kept, replaces, rescued
from dmft.cli.output import command, curve_table, curves, print_json
from dmft.cli.progress import progress_callback
from dmft.config import Config
from dmft.errors import Interrupted
from dmft.results.simulation import Simulation
from dmft.stopping import stop_requests
from dmft.store.schema import SIMULATION

_WORTH_PROCESSES = 3.0  # seconds on one core; their start takes about one
_SAVING_SECONDS = 1.0  # between checkpoints, however short the runs


def run_ensemble(
    arguments: argparse.Namespace,
    path: Path,
    config: Config,
    *,
    state: Mapping[str, Any] | None,
    command_line: str,
    part: Path | None = None,
) -> int:
    """Simulate, with checkpoints in the output file, save and print; the caller holds the lock.

    part : where checkpoints go instead, because the output holds a result.
    """
    from dmft.simulation import simulate
    from dmft.store import save

    latest = _Latest(Checkpoints(part or path, config, command_line, SIMULATION), state)
    first = state is None
    with previous_file_kept(path, latest.files, first=first), stop_requests() as stop:
        try:
            with progress_callback(arguments, "simulate") as show:
                simulation = simulate(
                    config.problem,
                    **config.simulation.model_dump(),
                    t_max=config.solver.t_max,
                    times=config.solver.recorded,
                    progress=show,
                    workers=_workers(config, arguments.threads),
                    checkpoint=latest,
                    resume=state or None,
                    stop=stop,
                )
            with rescued(path, latest.files, latest.state, overwrite=replaces(arguments)):
                save(
                    path, simulation, overwrite=True, command_line=command_line, config=config,
                    state=latest.state,
                )  # fmt: skip
        except (Interrupted, KeyboardInterrupt):
            latest.save()
            raise interrupted(arguments, path, latest.files) from None
    report(arguments, path, simulation)
    return 0


def report(arguments: argparse.Namespace, path: Path, simulation: Simulation) -> None:
    """Print a simulation that is in `path`."""
    if arguments.json:
        table = {"file": str(path), "status": "done", "reason": "", **curves(simulation)}
        print_json({**table, "seed": simulation.seed})
    elif not arguments.quiet:
        print(curve_table(simulation))
        print(f"saved in {path}")
        print("next:", command("dmft", "compare", "OUT.h5", path))


class _Latest:
    """Keeps the last state, and saves it now and then."""

    def __init__(self, files: Checkpoints, state: Mapping[str, Any] | None) -> None:
        self.files = files
        self.state: Mapping[str, Any] = state or {}
        self._saved_at = -_SAVING_SECONDS

    def __call__(self, state: Mapping[str, Any]) -> None:
        self.state = state
        if time.monotonic() - self._saved_at >= _SAVING_SECONDS:
            self.save()

    def save(self) -> None:
        """Save the last state; there may be none yet, which makes a checkpoint of the start."""
        self.files(self.state)
        self._saved_at = time.monotonic()


def _workers(config: Config, threads: int | None) -> int:
    """Processes for the runs: one for each core, if the work is worth their start."""
    from dmft.simulation.workers import available_cores
    from dmft.sweep.tasks import TASKS

    wanted = threads or available_cores()
    short = TASKS["simulate"].seconds(config) < _WORTH_PROCESSES
    return 1 if short else wanted
