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

from dmft.errors import InputError

DEEPEST = 64  # levels of tables and lists
LONGEST = 1 << 24  # bytes of a text
LONGEST_TOML = 2_500_000  # of one in TOML: 100 000 numbers with all their digits
_MOST_PARTS = 16  # of a key in TOML
_LONGEST_NUMBER = 250  # characters: integers of so many are within the range of floats
# What costs a parser time and memory, however few bytes it takes: elements, which end in a comma,
# and what begins with a mark of its own. No settings have so many.
_MOST_ELEMENTS, _MOST_TABLES = 200_000, 10_000
_MOST_LINES = 400_000  # of TOML, each of which takes microseconds, also of comments
_LONGEST_WORDS = 120  # characters of what an error says
# A key of too many parts; starts at the beginning of a word only, so that the
# search is linear in the length of the text.
_LONG_KEY = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MOST_PARTS}}}"""
)
_LONG_NUMBER = re.compile(rf"(?<!\w)\d\w{{{_LONGEST_NUMBER}}}")
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"


def read_text(path: Path, longest: int = LONGEST) -> str:
    """The text of a small file in UTF-8.

    Raises
    ------
    InputError : a longer file, or a pipe that nobody writes to.
    ValueError : no text.
    OSError : it cannot be read.
    """
    with open(path, "rb", opener=_at_once) as file:
        content: bytes | None = file.read(longest + 1)
        if content is None:
            raise InputError("has nothing to read yet, must be a file of text", str(path))
        if not content and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise InputError("is a pipe that nobody writes to, must be a file of text", str(path))
    if len(content) > longest:
        raise InputError(f"is longer than {longest} bytes, which is the most allowed", str(path))
    return content.decode("utf-8")


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe, which may never come.

    What a pipe or a terminal gives is waited for; the files of the kernel that wait never end.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, not stat.S_ISREG(os.fstat(descriptor).st_mode))
    return descriptor


def printable(text: object) -> str:
    """One line that a terminal shows and does not obey, also of a stranger's text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def words_of(error: Exception) -> str:
    """What an error says, maybe with bytes of a stranger's file in it: one line, no long one."""
    text = str(error).partition("\n")[0]
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}..."


def parse_json(text: str | bytes, elements: int = 500_000, containers: int = 200_000) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    elements, containers : entries of lists and tables, and of these themselves, that it may have.

    Raises
    ------
    InputError : more of them, which would fill the memory.
    ValueError : no JSON, or nested too deep.
    """
    _check_amount(text, elements, containers, "[{")
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
    InputError : so much of it that it would take long.
    ValueError : no TOML, or nested too deep.
    """
    _check_amount(text, _MOST_ELEMENTS, _MOST_TABLES, "[{=")
    if (lines := _count(text, "\n")) > _MOST_LINES:
        raise InputError(f"holds {lines} lines, allowed: {_MOST_LINES}")
    if _LONG_KEY.search(text):
        raise InputError(f"holds a key of more than {_MOST_PARTS} parts")
    if _LONG_NUMBER.search(text):
        raise InputError(f"holds a number of more than {_LONGEST_NUMBER} characters")
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(table)
    return table


def _check_amount(text: str | bytes, elements: int, containers: int, marks: str) -> None:
    """Refuse a text that takes longer to parse, and more memory, than any that is meant well."""
    found, begun = (sum(_count(text, mark) for mark in each) for each in (",", marks))
    if found > elements:
        raise InputError(f"holds {found} commas, allowed: {elements} elements of lists and tables")
    if begun > containers:
        raise InputError(
            f"holds {begun} of {' and '.join(marks)}, allowed: {containers} lists, tables and keys"
        )


def _count(text: str | bytes, mark: str) -> int:
    return text.count(mark) if isinstance(text, str) else text.count(mark.encode())


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
