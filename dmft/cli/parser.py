"""The argument parser, whose errors are one line, and the options that commands share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dmft.errors import InputError

MOST_THREADS = 4096  # or processes: more than any machine has cores
MOST = 10**9  # points, tries, heads: more than there ever are
_LONGEST_ECHO = 40


class Parser(argparse.ArgumentParser):
    """A parser that raises its errors as InputError instead of printing its usage."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)
        self.set_defaults(help_of=self.prog)  # that of the innermost command wins

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; words that no command knows are answered by the help of the innermost."""
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            words = " ".join(unknown)
            raise InputError(f"unrecognized arguments: {words}, see {arguments.help_of} --help")
        return arguments

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}{_suggestion(message)}, see {self.prog} --help")


def _suggestion(message: str) -> str:
    """The choice that is nearest to one that does not exist."""
    refused = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
    if refused is None:
        return ""
    from difflib import get_close_matches

    near = get_close_matches(refused[1], re.findall(r"[\w-]+", refused[2]), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


class Version(argparse.Action):
    """Print the version; looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and stop")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dmft.version import package_version

        print(f"dmft {package_version()}")
        parser.exit()


def integer(least: int, most: int) -> Callable[[str], int]:
    """The type of an option whose value is an integer from `least` to `most`, not negative."""
    allowed = f"must be an integer of at least {least}, at most {most}"

    def read(text: str) -> int:
        digits = text.lstrip("0") or "0"
        known = text.isdecimal() and len(digits) <= len(str(most))
        if not known or not least <= int(digits) <= most:
            raise argparse.ArgumentTypeError(f"given {_echo(text)}, {allowed}")
        return int(digits)

    return read


def _echo(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}...")


def positive_number(text: str) -> float:
    """An option's value that must be a finite number greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"given {_echo(text)}, must be a number greater than 0")
    return value


def add_config(parser: argparse.ArgumentParser) -> None:
    """CONFIG.toml and --set."""
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.toml", help="what to do; default values"
        " for all that it leaves out",
    )  # fmt: skip
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """--set."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="section.key=value",
        help="change one setting, in TOML, bare words as strings; repeatable; `dmft config` and"
        " docs/settings.md have all of them",
    )


def add_output(parser: argparse.ArgumentParser, metavar: str) -> None:
    """-o and --overwrite."""
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar=metavar, help="file to write"
    )
    add_overwrite(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """--overwrite."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a table")


def add_running(parser: argparse.ArgumentParser) -> None:
    """Options of the commands that compute for long."""
    add_json(parser)
    parser.add_argument("--quiet", action="store_true", help="no table, no progress")
    parser.add_argument("--progress", action="store_true", help="progress even into a file")
    parser.add_argument(
        "--threads",
        type=integer(1, MOST_THREADS),
        metavar="N",
        help="threads to use; default all cores",
    )


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """--checkpoint-seconds."""
    parser.add_argument(
        "--checkpoint-seconds",
        type=positive_number,
        default=60.0,
        metavar="S",
        help="save a checkpoint this often (default 60)",
    )
