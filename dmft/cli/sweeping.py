"""What `dmft sweep run` does: drives executors, or submits jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGINT, SIGTERM, SIGUSR1
from typing import TYPE_CHECKING, Any

from dmft.cli.output import command, print_json
from dmft.cli.progress import progress_bar
from dmft.errors import InputError
from dmft.stopping import stop_requests
from dmft.sweep import Outcome, Settings, Summary, open_folder, run
from dmft.sweep.local import LocalExecutor, available_cores, compute_in_worker

if TYPE_CHECKING:
    from dmft.sweep.slurm import Batch

NOT_CONVERGED = 3


def compute(arguments: argparse.Namespace) -> int:
    """Compute here, or on Dask, until everything is done."""
    alone = arguments.index is not None
    if arguments.chunk is not None and not alone:
        raise InputError("given without --index, which says which part", "--chunk")
    if alone and arguments.jobs is not None:
        raise InputError("given with --index, which computes in this process", "--jobs")
    if arguments.scheduler is not None and arguments.executor != "dask":
        raise InputError("given without --executor dask", "--scheduler")
    if alone and arguments.executor != "local":
        raise InputError("given with --index, which computes in this process", "--executor")
    for name in ("limit", "sbatch", "setup", "collect"):
        if getattr(arguments, name):
            raise InputError("given without --executor slurm", f"--{name}")
    grid = open_folder(arguments.folder).grid  # before any worker is started
    cores = available_cores()
    jobs = 1 if alone else arguments.jobs or cores
    settings = Settings(
        threads=arguments.threads or max(1, cores // jobs),
        retries=arguments.retries,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )
    with ExitStack() as stack:
        options: dict[str, Any] = {"settings": settings, "command_line": arguments.command_line}
        options["stop"] = stack.enter_context(stop_requests((SIGINT, SIGTERM, SIGUSR1)))
        options["most_failures"] = arguments.stop_after_failures
        options["report"] = stack.enter_context(_reports(arguments))
        if alone:
            options["indices"] = _part(arguments)
        elif arguments.executor == "dask":
            from dmft.sweep.dask import dask_executor

            where = dask_executor(arguments.scheduler, jobs)
            options["executor"] = stack.enter_context(where)
        else:
            options["executor"] = stack.enter_context(
                LocalExecutor(jobs, solves="solve" in grid.tasks)
            )
            options["function"] = compute_in_worker
        summary = run(arguments.folder, **options)
    return _print_summary(arguments, summary)


def submit(arguments: argparse.Namespace) -> int:
    """Submit jobs that compute, and return."""
    from dmft.sweep.slurm import submit, submit_with_submitit

    for name in ("index", "jobs", "scheduler", "threads"):
        if getattr(arguments, name) is not None:
            raise InputError(f"given with --executor {arguments.executor}", f"--{name}")
    batch = batch_of(arguments)
    if arguments.executor == "slurm":
        jobs = submit(arguments.folder, batch, arguments.collect)
    elif arguments.collect is not None:
        raise InputError("given without --executor slurm", "--collect")
    else:
        jobs = [job.job_id for job in submit_with_submitit(arguments.folder, batch)]
    if arguments.json:
        print_json({"folder": str(arguments.folder), "jobs": jobs})
    elif not arguments.quiet:
        print(f"submitted {', '.join(jobs)}")
        print("next:", command("dmft", "sweep", "status", arguments.folder))
    return 0


def batch_of(arguments: argparse.Namespace) -> Batch:
    """The options of a batch job."""
    from dmft.sweep.slurm import Batch

    passed = [
        f"--{name.replace('_', '-')}={getattr(arguments, name)}"
        for name in ("retries", "checkpoint_seconds", "stop_after_failures")
        if getattr(arguments, name, None) is not None
    ]
    return Batch(
        arguments.chunk, arguments.limit, tuple(arguments.sbatch), tuple(arguments.setup),
        tuple(passed),
    )  # fmt: skip


def _part(arguments: argparse.Namespace) -> range:
    """The points of --index and --chunk."""
    points = len(open_folder(arguments.folder).grid.points)
    chunk = arguments.chunk or 1
    first = arguments.index * chunk
    if first >= points:
        most = (points - 1) // chunk
        raise InputError(f"given {arguments.index}, must be at most {most}", "--index")
    return range(first, min(first + chunk, points))


@contextmanager
def _reports(arguments: argparse.Namespace) -> Iterator[Callable[[Outcome, int, int], None]]:
    """Progress, and a warning for every item that failed."""
    with progress_bar(arguments, "sweep") as show:

        def report(outcome: Outcome, done: int, total: int) -> None:
            if show is not None:
                show(done / total, f"{done}/{total}")
            if outcome.state in ("failed", "blocked") and not arguments.quiet:
                print(f"dmft: warning: {outcome.name}: {outcome.reason}", file=sys.stderr)

        yield report


def _print_summary(arguments: argparse.Namespace, summary: Summary) -> int:
    if arguments.json:
        failures = [{"item": each.name, "reason": each.reason} for each in summary.failures]
        print_json(
            {
                "folder": str(arguments.folder),
                "computed": summary.computed,
                "skipped": summary.skipped,
                "failures": failures,
            }
        )
    elif not arguments.quiet:
        words = [f"{count} {state}" for state, count in summary.computed.items()]
        print(f"computed  {', '.join(words) or 'nothing'}")
        print(f"before    {summary.skipped} results were there")
        if summary.failures:
            print("next:", command("dmft", "sweep", "status", arguments.folder))
        elif arguments.index is None:
            print("next:", command("dmft", "sweep", "collect", arguments.folder, "-o", "ALL.h5"))
    if summary.failures:
        return 1
    return NOT_CONVERGED if summary.not_converged else 0
