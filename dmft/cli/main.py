"""The `dmft` command: finds the subcommand, turns errors into one line and an exit status."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import NoReturn

from dmft.cli.commands import COMMANDS
from dmft.cli.parser import Parser, Version
from dmft.errors import DmftError, InputError

_DESCRIPTION = "Dynamical mean-field theory of diagonal linear networks."
_EPILOG = """\
examples:
  dmft solve -o out.h5 --set solver.t_max=20
  dmft simulate -o sim.h5 --set solver.t_max=20 --set simulation.dimension=1000
  dmft compare out.h5 sim.h5 --plot comparison.png

exit status: 0 done, 2 bad input, 3 not converged (the result is saved and marked),
130 interrupted (`dmft resume OUT.h5` continues a solve), 1 anything else.
`dmft COMMAND --help` or `dmft help COMMAND` explains a command, `dmft config` all settings."""

# What a program that dies of SIGPIPE reports; here the reader of the output went away.
_BROKEN_PIPE = 128 + signal.SIGPIPE
_LONGEST_END = 500  # characters of a message before and after a cut
_LOOP = "Symlink loop"  # what Path.resolve says of it before Python 3.13, as a RuntimeError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (that of the process by default), return its exit status."""
    atexit.register(gc.freeze)  # an end without a last look at everything: half a second less
    words = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without "±" still gets its table
    try:
        with _warnings_in_one_line(), _terminate_like_interrupt():
            parser = build_parser()
            if not words:
                parser.print_help()
                return 0
            if words[0] == "help":
                words = [*words[1:], "--help"]
            arguments = parser.parse_args(words)
            arguments.command_line = shlex.join(["dmft", *words])
            status: int = arguments.run(arguments)
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        _forget_output()
        return _BROKEN_PIPE
    except DmftError as error:
        print("dmft: error:", _one_line(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("dmft: error: interrupted", file=sys.stderr)
        return 130
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(_LOOP):
            raise
        _forget_output()
        return _say_what_failed(error)


def _say_what_failed(error: Exception) -> int:
    """One line about what the system refused; 2 if no such file can be, or none that is ours."""
    reason = str(error) or "not enough memory"
    if isinstance(error, OSError) and error.filename is not None:
        reason = f"{os.fspath(error.filename)}: {error.strerror}"
    elif isinstance(error, OSError):
        reason = f"cannot be written ({error.strerror})"
    print("dmft: error:", _one_line(reason), file=sys.stderr)
    of_the_name = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES)
    bad_input = isinstance(error, RuntimeError) or getattr(error, "errno", 0) in of_the_name
    return InputError.exit_code if bad_input else DmftError.exit_code


def _one_line(text: object) -> str:
    """A message as it is printed; of one with a stranger's long text in it, both ends."""
    from dmft.texts import printable

    line = printable(" ".join(str(text).split()))
    if len(line) <= 2 * _LONGEST_END:
        return line
    return f"{line[:_LONGEST_END]} ... {line[-_LONGEST_END:]}"


def _forget_output() -> None:
    """Drop what was not printed; Python would complain again when it flushes at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="dmft", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"dmft.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            epilog=f"examples:\n{module.EXAMPLES}",
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        print("dmft: warning:", _one_line(message), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that temporary and lock files go."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
