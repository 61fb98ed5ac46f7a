"""Compute a grid of problems, on this machine or on a cluster; nothing is computed twice.

A grid file names tasks, base settings and axes; a folder holds the state of the sweep and one
file per result. Every command can be repeated at any time: what is finished stays."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from dmft.sweep import Summary
    from dmft.sweep.status import Status

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
    parser.add_argument("grid", type=Path, metavar="GRID.toml")
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
    folder = None if path.is_file() else open_folder(path)
    grid = folder.grid if folder else load_grid(path)
    total, left, seconds, measured = plan(grid, folder)
    if arguments.json:
        print_json(_plan_table(path, grid, total, left, seconds, measured))
    else:
        _print_plan(grid, total, left, seconds, measured)
    return 0


def _plan_table(
    path: Path, grid: Any, total: int, left: int, seconds: float, measured: bool
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


def _print_plan(grid: Any, total: int, left: int, seconds: float, measured: bool) -> None:
    axes = " x ".join(f"{dimension.name} ({len(dimension)})" for dimension in grid.dimensions)
    print(f"points    {len(grid.points)} = {axes}")
    print(f"tasks     {', '.join(grid.tasks)}")
    print(f"results   {total}, of which {total - left} are there and {left} to be computed")
    source = "from what was measured so far" if measured else "a rough guess before the first"
    print(f"cost      about {_duration(seconds)} of one core, {source}")


# ---------------------------------------------------------------------- run


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--jobs", type=options.positive_integer, metavar="N",
                        help="worker processes; default one per core")  # fmt: skip
    parser.add_argument("--threads", type=options.positive_integer, metavar="N",
                        help="threads of each; default the cores divided by the jobs")  # fmt: skip
    parser.add_argument("--executor", choices=("local", "dask", "slurm", "submitit"),
                        default="local", help="where the workers are (default local)")  # fmt: skip
    parser.add_argument("--scheduler", metavar="ADDRESS",
                        help="of a running Dask cluster; default a local one")  # fmt: skip
    parser.add_argument("--index", type=_natural, metavar="I",
                        help="compute only part I, from 0, in this process")  # fmt: skip
    parser.add_argument("--chunk", type=options.positive_integer, metavar="N",
                        help="points of a part: I*N to I*N + N - 1 (default 1)")  # fmt: skip
    parser.add_argument("--retries", type=_natural, default=1, metavar="N",
                        help="further tries after an unexpected error (default 1)")  # fmt: skip
    options.add_checkpoints(parser)
    parser.add_argument("--quiet", action="store_true", help="no summary, no progress")
    parser.add_argument("--progress", action="store_true", help="progress even into a file")
    options.add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from contextlib import ExitStack
    from signal import SIGINT, SIGTERM, SIGUSR1

    from dmft.stopping import stop_requests
    from dmft.sweep import Settings, run
    from dmft.sweep.local import available_cores, compute_in_worker

    cores = available_cores()
    alone = arguments.index is not None
    jobs = 1 if alone else arguments.jobs or cores
    settings = Settings(
        threads=arguments.threads or max(1, cores // jobs),
        retries=arguments.retries,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )
    chunk = arguments.chunk or 1
    indices = range(arguments.index * chunk, (arguments.index + 1) * chunk) if alone else None
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests((SIGINT, SIGTERM, SIGUSR1)))
        show = stack.enter_context(_progress(arguments))
        executor: Executor | None = None
        more: dict[str, Any] = {}
        if not alone:
            from dmft.sweep.local import LocalExecutor

            executor = stack.enter_context(LocalExecutor(jobs))
            more["function"] = compute_in_worker
        summary = run(
            arguments.folder, executor, indices=indices, settings=settings, stop=stop,
            report=show, command_line=arguments.command_line, **more,
        )  # fmt: skip
    return _report_run(arguments, summary)


def _progress(arguments: argparse.Namespace) -> Any:
    from contextlib import contextmanager

    from dmft.cli.progress import progress_bar

    @contextmanager
    def showing() -> Any:
        with progress_bar(arguments, "sweep") as show:

            def report(outcome: Any, done: int, total: int) -> None:
                if show is not None:
                    show(done / total, f"{done}/{total}")
                if outcome.state in ("failed", "blocked") and not arguments.quiet:
                    print(f"dmft: warning: {outcome.name}: {outcome.reason}", file=sys.stderr)

            yield report

    return showing()


def _report_run(arguments: argparse.Namespace, summary: Summary) -> int:
    from dmft.cli.output import command, print_json

    failed, open_ = len(summary.failures), len(summary.not_converged)
    if arguments.json:
        print_json(
            {
                "folder": str(arguments.folder),
                "computed": summary.computed,
                "skipped": summary.skipped,
                "failures": [{"item": o.name, "reason": o.reason} for o in summary.failures],
            }
        )
    elif not arguments.quiet:
        words = [f"{count} {state}" for state, count in summary.computed.items()]
        print(f"computed  {', '.join(words) or 'nothing'}")
        print(f"before    {summary.skipped} results were there")
        if failed:
            print("next:", command("dmft", "sweep", "status", arguments.folder))
        elif arguments.index is None:
            print("next:", command("dmft", "sweep", "collect", arguments.folder, "-o", "ALL.h5"))
    if failed:
        return 1
    return 3 if open_ else 0


def _natural(text: str) -> int:
    """An option's value that must be an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"given {text!r}, must be an integer of at least 0")
    return int(text)


# ---------------------------------------------------------------------- status and retry


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER")
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
    if found.unused:
        print(f"unused    {found.unused} results of points that are not in the grid now, kept")


def _add_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER")
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
    "status": ("say how far it is, how long it takes and what failed", _add_status, _status),
    "retry": ("let failed points be computed again", _add_retry, _retry),
}
