"""What `dmft solve` and `dmft resume` share: a solve that survives being stopped or killed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli.output import command, curve_table, curves, print_json
from dmft.cli.parts import forget_part
from dmft.cli.progress import progress_callback
from dmft.config import Config
from dmft.errors import DmftError, InputError, Interrupted
from dmft.stopping import stop_requests
from dmft.store.output import part_of, temporary_name
from dmft.store.schema import SOLUTION

if TYPE_CHECKING:
    from dmft.results.solution import Solution

NOT_CONVERGED = 3


def march(
    arguments: argparse.Namespace,
    path: Path,
    config: Config,
    *,
    state: Mapping[str, Any] | None,
    command_line: str,
    part: Path | None = None,
) -> int:
    """Solve, with checkpoints in the output file, save and print; the caller holds the lock.

    part : where checkpoints go instead, because the output holds a result.
    """
    from dmft.solver import solve
    from dmft.store import save, save_checkpoint

    checkpoints = Checkpoints(part or path, config, command_line)
    kept: dict[str, Any] = {}
    with previous_file_kept(path, checkpoints, first=state is None):
        if state is None:
            save_checkpoint(path, config, {}, command_line)
        with stop_requests() as stop:
            try:
                with progress_callback(arguments, "solve") as show:
                    solution = solve(
                        config.problem,
                        **config.solver.model_dump(),
                        threads=arguments.threads,
                        progress=show,
                        checkpoint=checkpoints,
                        checkpoint_seconds=arguments.checkpoint_seconds,
                        keep=kept.update,
                        keep_paths=False,  # nor would the file
                        resume=state or None,
                        stop=stop,
                    )
                # Still inside: a signal that comes now is too late to stop anything.
                with rescued(path, checkpoints, kept, overwrite=replaces(arguments)):
                    save(
                        path, solution, overwrite=True, command_line=command_line, config=config,
                        state=kept,
                    )  # fmt: skip
            except (Interrupted, KeyboardInterrupt):
                raise interrupted(arguments, path, checkpoints) from None
    report(arguments, path, solution)
    return status_of(solution)


def replaces(arguments: argparse.Namespace) -> bool:
    """Whether the command is to replace what is in its output; what resumes has no such option."""
    return getattr(arguments, "overwrite", False)


def status_of(solution: Solution) -> int:
    """The exit status that tells how a solve ended."""
    return NOT_CONVERGED if solution.status == "not-converged" else 0


def report(arguments: argparse.Namespace, path: Path, solution: Solution) -> None:
    """Print a solution that is in `path`."""
    if arguments.json:
        print_json(
            {
                "file": str(path),
                "status": solution.status,
                "reason": solution.reason,
                "rtol": solution.rtol,
                "note": solution.note,
                **curves(solution),
                "work": solution.work,
            }
        )
    elif not arguments.quiet:
        print(curve_table(solution))
        print(f"status: {solution.status}" + (f" ({solution.reason})" if solution.reason else ""))
        if solution.note:
            print(f"note: {solution.note}")
        print(f"saved in {path}")
        print("next:", command("dmft", "plot", path, "-o", path.with_suffix(".png")))


class Checkpoints:
    """The callable that the solver hands its state to.

    A checkpoint that cannot be written is no reason to lose the work so far: it is a warning.
    """

    def __init__(
        self, path: Path, config: Config, command_line: str, schema: str = SOLUTION
    ) -> None:
        self.path, self.config, self.command_line = path, config, command_line
        self.schema = schema
        self.saved = False
        self.failure: DmftError | None = None

    def __call__(self, state: Mapping[str, Any]) -> None:
        from dmft.store import save_checkpoint

        try:
            save_checkpoint(self.path, self.config, state, self.command_line, self.schema)
        except DmftError as error:
            self.failure = error
            print(f"dmft: warning: no checkpoint, {error}", file=sys.stderr)
        else:
            self.saved, self.failure = True, None


@contextmanager
def rescued(
    path: Path, checkpoints: Checkpoints, state: Mapping[str, Any], *, overwrite: bool
) -> Iterator[None]:
    """Save a result; when that fails, keep the state that it came from, and say where.

    overwrite : whether it takes the place of another one, whose extension goes as well.
    """
    try:
        yield
    except DmftError as error:
        if isinstance(error, InputError) and error.location != str(path):
            raise  # a result that no file may hold
        if state:
            checkpoints(state)
        if not checkpoints.path.exists() or (checkpoints.path == path and not checkpoints.saved):
            raise
        what = "what was computed" if checkpoints.failure is None else "the last checkpoint"
        kept = f"{what} is in {checkpoints.path}, finish with: {command('dmft', 'resume', path)}"
        raise DmftError(f"{error}; {kept}") from None
    if checkpoints.path == part_of(path):
        with suppress(OSError):
            checkpoints.path.unlink(missing_ok=True)
    elif overwrite:
        forget_part(path)


def interrupted(arguments: argparse.Namespace, path: Path, checkpoints: Checkpoints) -> Interrupted:
    """What says that a computation was stopped, and how it goes on."""
    if checkpoints.failure is not None:
        text = f"interrupted, the last checkpoint could not be saved: {checkpoints.failure}; "
    else:
        text = "interrupted, checkpoint saved; "
    if checkpoints.path.exists():
        text += f"continue with: {command('dmft', 'resume', path)}"
    else:  # of an extension that is at its beginning
        text = text.replace("checkpoint saved", "nothing to save yet") + f"{path} is as it was"
    if arguments.json:
        print_json({"file": str(path), "status": "interrupted", "reason": text})
    return Interrupted(text)


@contextmanager
def previous_file_kept(path: Path, checkpoints: Checkpoints, *, first: bool) -> Iterator[None]:
    """Undo the change of `path` when a first block fails before there is anything to resume."""
    if not first:
        yield
        return
    final = path.resolve()
    previous = temporary_name(final)
    with suppress(OSError):  # no such file, or no hard links here
        os.link(final, previous)
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        with suppress(OSError):  # the failure itself says more
            if not checkpoints.saved:
                final.unlink(missing_ok=True)
                if previous.exists():
                    previous.replace(final)
        raise
    finally:
        with suppress(OSError):
            previous.unlink(missing_ok=True)
