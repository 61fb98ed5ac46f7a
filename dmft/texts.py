"""TOML and JSON that strangers wrote, parsed within bounds: no text hangs the process or fills it.

The parsers of the standard library recurse into what is nested, and keys of many parts cost them
the square of their number.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

DEEPEST = 64  # levels of tables and lists
LONGEST = 1 << 24  # bytes of a text
_LONGEST_WORDS = 120  # characters of what an error says
# As many parts of a key as there are levels; starts at the beginning of a word only, so that the
# search is linear in the length of the text.
_LONG_KEY = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}"""
)
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"


def read_text(path: Path, longest: int = LONGEST) -> str:
    """The text of a small file in UTF-8.

    Raises
    ------
    ValueError : a longer file, one that is no text, or a pipe that nobody writes to.
    OSError : it cannot be read.
    """
    with open(path, "rb", opener=_at_once) as file:
        content = file.read(longest + 1)
        if not content and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise ValueError("a pipe that nobody writes to")
    if len(content) > longest:
        raise ValueError(f"longer than {longest} bytes")
    return content.decode("utf-8")


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe, which may never come."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def printable(text: object) -> str:
    """One line that a terminal shows and does not obey, also of a stranger's text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def words_of(error: Exception) -> str:
    """What an error says, maybe with bytes of a stranger's file in it: one line, no long one."""
    text = str(error).partition("\n")[0]
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}..."


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError : no JSON, or nested too deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises
    ------
    ValueError : no TOML, or nested too deep.
    """
    if _LONG_KEY.search(text):
        raise ValueError(_TOO_DEEP)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(table)
    return table


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        inside: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        if not inside:
            return
        level = inside
    raise ValueError(_TOO_DEEP)
