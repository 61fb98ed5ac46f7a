"""Compute a grid of problems, on this machine or on a cluster; nothing is computed twice.

A grid file names tasks, base settings and axes; a folder holds the state of the sweep and one
file per result. Every command can be repeated at any time: what is finished stays."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import collecting
from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.sweep import Grid
    from dmft.sweep.status import Status

PLACE = 120
SUMMARY = "compute a grid of problems"
EXAMPLES = """\
  dmft sweep init grid.toml study
  dmft sweep plan study
  dmft sweep run study --jobs 2
  dmft sweep status study --json
  dmft sweep collect study -o study.h5"""

_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (summary, add, act) in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        add(action)
        action.set_defaults(act=act)


def run(arguments: argparse.Namespace) -> int:
    status: int = arguments.act(arguments)
    return status


# ---------------------------------------------------------------------- init and plan


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", type=Path, metavar="GRID.toml", help="tasks, base and axes")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new, or of an earlier grid")
    parser.add_argument(
        "--replace", action="store_true", help="accept a base other than that of old results"
    )
    options.add_json(parser)


def _init(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import command, print_json
    from dmft.sweep import create
    from dmft.sweep.status import plan

    folder = create(arguments.grid, arguments.folder, replace=arguments.replace)
    grid = folder.grid
    total, left, seconds, measured = plan(grid, folder)
    if arguments.json:
        print_json(_plan_table(arguments.folder, grid, total, left, seconds, measured))
        return 0
    _print_plan(grid, total, left, seconds, measured)
    print("next:", command("dmft", "sweep", "run", arguments.folder))
    return 0


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep, or a GRID.toml")
    options.add_json(parser)


def _plan(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import print_json
    from dmft.sweep import load_grid, open_folder
    from dmft.sweep.status import plan

    path = arguments.folder
    folder = open_folder(path) if path.is_dir() or not path.exists() else None
    grid = folder.grid if folder else load_grid(path)
    total, left, seconds, measured = plan(grid, folder)
    if arguments.json:
        print_json(_plan_table(path, grid, total, left, seconds, measured))
    else:
        _print_plan(grid, total, left, seconds, measured)
    return 0


def _plan_table(
    path: Path, grid: Grid, total: int, left: int, seconds: float, measured: bool
) -> dict[str, Any]:
    return {
        "sweep": str(path),
        "points": len(grid.points),
        "tasks": list(grid.tasks),
        "axes": {dimension.name: len(dimension) for dimension in grid.dimensions},
        "results": total,
        "to_compute": left,
        "core_seconds": seconds,
        "measured": measured,
    }


def _print_plan(grid: Grid, total: int, left: int, seconds: float, measured: bool) -> None:
    axes = " x ".join(f"{dimension.name} ({len(dimension)})" for dimension in grid.dimensions)
    print(f"points    {len(grid.points)} = {axes}")
    print(f"tasks     {', '.join(grid.tasks)}")
    print(f"results   {total}, of which {total - left} are there and {left} to be computed")
    source = "from what was measured so far" if measured else "a rough guess before the first"
    print(f"cost      about {_duration(seconds)} of one core, {source}")


# ---------------------------------------------------------------------- run and script


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep")
    parser.add_argument(
        "--executor",
        choices=("local", "dask", "slurm", "submitit"),
        default="local",
        help="where the workers are (default local); slurm and submitit submit jobs and return",
    )
    parser.add_argument(
        "--jobs",
        type=options.integer(1, options.MOST_THREADS),
        metavar="N",
        help="worker processes, local or of a local Dask cluster; default one per core",
    )
    parser.add_argument(
        "--threads",
        type=options.integer(1, options.MOST_THREADS),
        metavar="N",
        help="threads of each; default the cores divided by the jobs",
    )
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a running Dask cluster; default a local one"
    )
    parser.add_argument(
        "--index",
        type=options.integer(0, options.MOST),
        metavar="I",
        help="compute only part I, from 0, in this process",
    )
    _add_batch(parser)
    parser.add_argument(
        "--collect", type=Path, metavar="ALL.h5", help="with slurm: submit a job that collects"
    )
    parser.add_argument(
        "--retries",
        type=options.integer(0, options.MOST),
        default=1,
        metavar="N",
        help="further tries after an unexpected error (default 1)",
    )
    parser.add_argument(
        "--stop-after-failures",
        type=options.integer(0, options.MOST),
        metavar="N",
        help="stop when N results have failed, 0 never does; default when the first 10 fail alike",
    )
    options.add_checkpoints(parser)
    parser.add_argument("--quiet", action="store_true", help="no summary, no progress")
    parser.add_argument("--progress", action="store_true", help="progress even into a file")
    options.add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from dmft.cli.sweeping import compute, submit

    return (submit if arguments.executor in ("slurm", "submitit") else compute)(arguments)


def _add_script(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep")
    _add_batch(parser)


def _script(arguments: argparse.Namespace) -> int:
    from dmft.cli.sweeping import batch_of
    from dmft.sweep import open_folder
    from dmft.sweep.slurm import array_script

    folder = open_folder(arguments.folder)
    (folder.path / "slurm").mkdir(exist_ok=True)
    print(array_script(folder, batch_of(arguments)), end="")
    return 0


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chunk",
        type=options.integer(1, options.MOST),
        metavar="N",
        help="points of a part, I*N to I*N + N - 1; default 1, in arrays what keeps them short",
    )
    parser.add_argument(
        "--limit",
        type=options.integer(1, options.MOST),
        metavar="N",
        help="array tasks at the same time",
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of sbatch, as in --sbatch=--time=01:00:00; repeatable",
    )
    parser.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="a line of shell before the program, as in --setup='module load python'; repeatable",
    )


# ---------------------------------------------------------------------- status and retry


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep")
    parser.add_argument("--all", action="store_true", help="list all failures, not only ten")
    options.add_json(parser)


def _status(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import print_json
    from dmft.sweep.status import status

    found = status(arguments.folder)
    if arguments.json:
        print_json(found.to_dict())
    else:
        _print_status(found, None if arguments.all else _ROWS)
    return 0


def _print_status(found: Status, rows: int | None) -> None:
    print(f"points    {found.points}: {found.done} done, {found.failed} failed, "
          f"{found.pending} pending ({found.running} running)")  # fmt: skip
    print(f"{'task':<10}{'total':>8}{'done':>8}{'failed':>8}{'pending':>9}{'running':>9}"
          f"{'interrupted':>13}{'each':>10}")  # fmt: skip
    for task, count in found.tasks.items():
        each = "" if count.seconds is None else _duration(count.seconds)
        print(f"{task:<10}{count.total:>8}{count.done:>8}{count.failed:>8}{count.pending:>9}"
              f"{count.running:>9}{count.interrupted:>13}{each:>10}")  # fmt: skip
    if found.pending:
        source = "measured" if found.measured else "a rough guess"
        workers = f"{max(1, found.running)} at a time" if found.running else "one at a time"
        print(f"left      about {_duration(found.seconds_left)}, {workers} ({source})")
    for worker in found.workers[:rows]:
        print(f"running   {worker}")
    for title, entries in (("failed", found.failures), ("not converged", found.warnings)):
        for point, item, reason in entries[:rows]:
            print(f"{title}: {item} ({point}): {reason}")
        if rows is not None and len(entries) > rows:
            print(f"{title}: {len(entries) - rows} more, --all lists them")
    if found.requeued:
        print(f"requeued  {found.requeued} times by Slurm, over all jobs")
    if found.unused:
        print(f"unused    {found.unused} results of points that are not in the grid now, kept")


def _add_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a sweep")
    options.add_json(parser)


def _retry(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import command, print_json
    from dmft.sweep.status import retry

    names = retry(arguments.folder)
    if arguments.json:
        print_json({"folder": str(arguments.folder), "retried": list(names)})
    else:
        print(f"{len(names)} failed results are pending again")
        print("next:", command("dmft", "sweep", "run", arguments.folder))
    return 0


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


_ACTIONS = {
    "init": ("make the folder of a grid, or give it an edited grid", _add_init, _init),
    "plan": ("print what a grid comes to, and its estimated cost", _add_plan, _plan),
    "run": ("compute what is not finished", _add_run, _run),
    "script": ("print the batch script of a Slurm array job", _add_script, _script),
    "status": ("say how far it is, how long it takes and what failed", _add_status, _status),
    "retry": ("let failed points be computed again", _add_retry, _retry),
    "collect": (
        "put all points into one file",
        collecting.add_collect,
        collecting.run_collect,
    ),
    "plot": ("draw a collection", collecting.add_plot, collecting.run_plot),
    "report": ("write a page about a collection", collecting.add_report, collecting.run_report),
}
