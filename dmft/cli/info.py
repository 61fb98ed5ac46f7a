"""Say what a file of dmft holds: origin, settings, status and the shapes of its data."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.cli.parts import Part

PLACE = 80
_LONGEST = 5000  # characters of an attribute, of which --json prints all
SUMMARY = "say what a file holds"
EXAMPLES = """\
  dmft info out.h5
  dmft info out.h5 --verify
  dmft info out.h5 --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.h5", help="any file written by dmft")
    parser.add_argument(
        "--verify", action="store_true", help="say whether the checksum of the file fits; a file"
        " that is damaged is refused without it as well",
    )  # fmt: skip
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import command, print_json
    from dmft.config import changed_settings
    from dmft.store import describe, is_locked
    from dmft.store.kinds import KINDS
    from dmft.store.output import whole_of
    from dmft.store.schema import RUNNING

    path = arguments.file
    found = describe(path)
    config = found.get("config")
    changed = changed_settings(config) if isinstance(config, dict) else {}
    running = found.get("status") == RUNNING
    part = _part(path)
    growing = part is not None and part.begun is not None
    whole = (whole_of(path) if running else None) or path
    active = (running or growing) and is_locked(whole)
    if arguments.json:
        print_json(
            {"file": str(path), **found, "changed": changed, "active": active, "growing": growing}
        )
        return 0
    _print(f"file      {path}")
    kind = KINDS.get(found["schema"])
    if kind is not None:
        _print(f"kind      {kind.name}" + (f", for `{kind.command}`" if kind.command else ""))
    _print(f"schema    {found['schema']} {found['schema_version']}")
    _print(f"origin    dmft {found.get('package_version', '?')} on {found.get('host', '?')}")
    _print(f"created   {found.get('created', '?')}")
    _print(f"command   {found.get('command_line', '?')}")
    _print(f"seeds     {found.get('seeds', '?')}")
    _print(f"status    {found.get('status', '?')} {_bracketed(found.get('reason', ''))}".rstrip())
    if arguments.verify:
        _print(f"checksum  {_checksum(found)}")
    if part and part.begun:
        _print(f"          an extension that is not finished yet is in {part.path}")
    elif part and part.stranger:
        _print(f"          {part.path} is no extension of it ({part.stranger})")
    if active:
        _print("          a process is working on it now")
    elif running or growing:
        _print("          continue with:", command("dmft", "resume", whole))
    _print("settings other than the defaults:" if changed else "settings: all defaults")
    for key, value in changed.items():
        _print(f"  {key} = {shorten(str(value), 80)}")
    _print("data:")
    for name, shape in found["datasets"].items():
        _print(f"  {name}  {' x '.join(map(str, shape)) or 'one value'}")
    return 0


def _part(path: Path) -> Part | None:
    """What lies beside a file; None where that cannot be told."""
    from dmft.cli.parts import part_beside
    from dmft.store import read_header

    with suppress(InputError):  # of a file without settings, or with some that are none
        return part_beside(path, read_header(path))
    return None


def _print(*words: object) -> None:
    from dmft.texts import printable

    print(*(printable(_cut(str(word))) for word in words))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _checksum(found: dict[str, Any]) -> str:
    if found["verified"]:
        return f"fits ({found['digest']})"
    if "digest" in found:
        return "lost, the file is unverified: changed by another program, or damaged"
    return "none, the file is unverified: written before dmft had checksums"


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""
