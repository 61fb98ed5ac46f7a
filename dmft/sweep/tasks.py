"""What can be done at a point of a grid: a table of tasks, and items, which are tasks at settings.

A new task is a function that writes one file and an entry in `TASKS`.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dmft.config import Config, changed_settings
from dmft.errors import DmftError, InputError, Interrupted

_DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Context:
    """What a task is given beside its settings.

    threads : to use.
    stop : polled; when it returns True the task saves what it can and raises Interrupted.
    checkpoint_seconds : wall-clock time between checkpoints.
    command_line : noted in the file.
    inputs : files of the items that the task needs, by task.
    """

    threads: int
    stop: Callable[[], bool]
    checkpoint_seconds: float
    command_line: str
    inputs: Mapping[str, Path]


@dataclass(frozen=True)
class Task:
    """One kind of computation.

    compute : writes a result to a path, where a checkpoint may be; returns status and reason.
    depends_on : beginnings of the dotted names of the settings that change the result.
    seconds : rough time on one core, from the settings; for plans before anything was measured.
    needs : tasks whose results at the same point are read.
    """

    compute: Callable[[Config, Path, Context], tuple[str, str]]
    depends_on: tuple[str, ...]
    seconds: Callable[[Config], float]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One task at one set of settings: computed once, by one process, into one file.

    digest : a hash of the task and of those settings that its result depends on and that differ
        from the defaults. It is the same on every machine, and stays when settings are added.
    needs : names of other items that must be there first.
    """

    task: str
    digest: str
    config: Config
    needs: tuple[str, ...] = ()

    @cached_property
    def name(self) -> str:
        """Beginning of the names of its files."""
        return f"{self.task}-{self.digest}"


def ordered_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """The tasks and those they need, each after what it needs."""
    wanted = set(names)
    for name in list(wanted):
        wanted.update(TASKS[name].needs)
    return tuple(name for name in TASKS if name in wanted)


def make_items(tasks: Iterable[str], config: Config) -> tuple[Item, ...]:
    """The items of a point, in the order of `tasks`."""
    changed = changed_settings(config.to_table())
    items: dict[str, Item] = {}
    for name in tasks:
        settings = {
            key: value
            for key, value in changed.items()
            if key.startswith(TASKS[name].depends_on)
        }  # fmt: skip
        text = json.dumps([name, settings], sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
        needs = tuple(items[needed].name for needed in TASKS[name].needs)
        items[name] = Item(name, digest, config, needs)
    return tuple(items.values())


# ---------------------------------------------------------------------- solve


def _solve(config: Config, path: Path, context: Context) -> tuple[str, str]:
    from dmft.solver import solve
    from dmft.store import save, save_checkpoint

    def checkpoint(state: Mapping[str, Any]) -> None:
        try:
            save_checkpoint(path, config, state, context.command_line)
        except DmftError as error:  # no reason to lose the work so far
            print(f"dmft: warning: no checkpoint, {error}", file=sys.stderr)

    solution = solve(
        config.problem,
        **config.solver.model_dump(),
        threads=context.threads,
        checkpoint=checkpoint,
        checkpoint_seconds=context.checkpoint_seconds,
        resume=_saved_state(path),
        stop=context.stop,
    )
    save(path, solution, overwrite=True, command_line=context.command_line, config=config)
    return solution.status, solution.reason


def _saved_state(path: Path) -> dict[str, Any] | None:
    """The state in a checkpoint of this version of the package; any other is of no use."""
    from dmft.store import load_checkpoint, read_header
    from dmft.version import package_version

    with suppress(InputError):
        if read_header(path).package_version == package_version():
            return load_checkpoint(path)[1] or None
    return None


def _solve_seconds(config: Config) -> float:
    """Fitted to default problems with t_max 1 to 1000, rtol 1e-2 to 1e-4, few paths and many."""
    solver = config.solver
    if config.problem.dynamics.discrete:
        return 2e-10 * solver.t_max**3 * (solver.replicates * solver.n_paths + 1000)
    panels = (5.0 + 4.7 * math.log10(max(solver.t_max, 1.0))) * (solver.rtol / 1e-2) ** -0.2
    replicates = solver.max_replicates if solver.target_error else solver.replicates
    return 8e-7 * panels**2 * (1 + replicates) * (1000 + solver.n_paths)


# ---------------------------------------------------------------------- simulate


def _simulate(config: Config, path: Path, context: Context) -> tuple[str, str]:
    from dmft.simulation import simulate
    from dmft.store import save

    def poll(_state: object) -> None:
        if context.stop():
            raise Interrupted("stopped on request")

    simulation = simulate(
        config.problem,
        **config.simulation.model_dump(),
        t_max=config.solver.t_max,
        times=config.solver.recorded,
        progress=poll,
    )
    save(path, simulation, overwrite=True, command_line=context.command_line, config=config)
    return "done", ""


def _simulate_seconds(config: Config) -> float:
    """Factorisations of the smaller of the two sides of X; fitted to the default problem."""
    simulation, ratio = config.simulation, config.problem.sampling_ratio
    samples = max(1.0, ratio * simulation.dimension)
    small = min(samples, simulation.dimension)
    return simulation.seeds * (0.05 + 6e-8 * samples * simulation.dimension * small**0.5)


# ---------------------------------------------------------------------- theory


def _theory(config: Config, path: Path, context: Context) -> tuple[str, str]:
    import dmft

    prediction = dmft.theory.predict(config.problem).to_dict()
    _save_values(path, "dmft-theory", config, prediction, context)
    return "done", ""


# ---------------------------------------------------------------------- compare


def _compare(config: Config, path: Path, context: Context) -> tuple[str, str]:
    from dmft.results.comparison import compare
    from dmft.store import load

    solution, simulation = (load(context.inputs[name]) for name in ("solve", "simulate"))
    table = compare(solution, simulation).to_dict()  # type: ignore[arg-type]
    values = {name: table[name] for name in ("verdict", "probability", "tolerance")}
    values["agrees"] = None if table["agrees"] is None else int(table["agrees"])
    for curve, differences in table["curves"].items():
        for what in ("largest_z", "largest_relative_difference"):
            values[f"{curve}_{what}"] = differences[what]
    _save_values(path, "dmft-comparison", config, values, context)
    return "done", ""


def _save_values(
    path: Path, schema: str, config: Config, values: Mapping[str, Any], context: Context
) -> None:
    """One dataset without axes for each value that is defined."""
    from dmft.store.saving import saving

    line = context.command_line
    with saving(path, schema, config, overwrite=True, command_line=line) as file:
        for name, value in values.items():
            defined = isinstance(value, str) or (value is not None and math.isfinite(value))
            if defined:
                file[name] = value


_PROBLEM = ("problem.", "dynamics.")

# In the order in which they are done at a point.
TASKS: dict[str, Task] = {
    "solve": Task(_solve, (*_PROBLEM, "solver."), _solve_seconds),
    "simulate": Task(
        _simulate, (*_PROBLEM, "simulation.", "solver.t_max", "solver.times"), _simulate_seconds
    ),
    "theory": Task(_theory, _PROBLEM, lambda config: 0.1),
    "compare": Task(
        _compare,
        (*_PROBLEM, "solver.", "simulation."),
        lambda config: 0.1,
        needs=("solve", "simulate"),
    ),
}
