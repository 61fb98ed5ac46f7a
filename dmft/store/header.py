"""Root attributes: what a file is, where it comes from and the configuration behind it."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.config import Config, parse_config
from dmft.errors import InputError
from dmft.store.kinds import KINDS, Kind, check_kind
from dmft.store.migrate import opened
from dmft.store.schema import SIMULATION, SOLUTION, STATUSES, VERSION
from dmft.texts import parse_json
from dmft.version import package_version

if TYPE_CHECKING:
    import h5py


_UNKNOWN = Kind("unknown")


@dataclass(frozen=True)
class Header:
    """Root attributes of a file.

    schema : "dmft-solution" or "dmft-simulation".
    version : of the schema, after migration.
    created : ISO 8601 time of writing, UTC.
    config : the resolved configuration.
    seeds : the seeds that every random number derives from.
    status, reason : of the result; "running" for an unfinished solve.
    """

    schema: str
    version: str
    package_version: str
    created: str
    host: str
    command_line: str
    config: Config
    seeds: tuple[int, ...]
    status: str
    reason: str


def read_header(path: str | Path) -> Header:
    """Read the root attributes of a file, of a finished or a running solve alike.

    Raises
    ------
    InputError : not a file of this package, or of a newer version of it.
    """
    with opened(Path(path)) as file:
        return parse_header(file)


def write_header(
    file: h5py.File,
    schema: str,
    config: Config | Mapping[str, Any],
    *,
    seeds: tuple[int, ...],
    command_line: str | None,
    status: str,
    reason: str,
) -> None:
    """Write the root attributes; `command_line` defaults to that of this process.

    `config` is the configuration of a solve, or the settings of another subject.
    """
    file.attrs["schema"] = schema
    file.attrs["schema_version"] = VERSION
    file.attrs["package_version"] = package_version()
    file.attrs["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.attrs["host"] = platform.node()
    line = shlex.join(sys.argv) if command_line is None else command_line
    # Names of files need not be UTF-8; an attribute must be.
    file.attrs["command_line"] = line.encode("utf-8", "backslashreplace").decode("utf-8")
    table = config.to_table() if isinstance(config, Config) else config
    file.attrs["config"] = json.dumps(table)
    file.attrs["seeds"] = json.dumps(seeds)
    file.attrs["status"] = status
    file.attrs["reason"] = reason


def parse_header(file: h5py.File) -> Header:
    """The header of an open file of the current version, whose configuration is that of a solve."""
    schema = _text(file, "schema")
    if not KINDS.get(schema, _UNKNOWN).solved:
        check_kind(schema, (SOLUTION, SIMULATION))
    table = _parsed(file, "config", dict)
    try:
        config = parse_config(table)
    except InputError as error:
        raise InputError(f"attribute 'config' is invalid: {error}") from None
    status = _text(file, "status")
    if status not in STATUSES:
        allowed = ", ".join(STATUSES)
        raise InputError(f"attribute 'status' is {status[:40]!r}, must be one of: {allowed}")
    return Header(
        schema=schema,
        version=_text(file, "schema_version"),
        package_version=_line(file, "package_version"),
        created=_line(file, "created"),
        host=_line(file, "host"),
        command_line=_text(file, "command_line"),
        config=config,
        seeds=tuple(_parsed(file, "seeds", list)),
        status=status,
        reason=_line(file, "reason"),
    )


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name)
    if not isinstance(value, str):
        raise InputError(f"attribute '{name}' is missing, must be text")
    return value


def _line(file: h5py.File, name: str) -> str:
    value = _text(file, name)
    if not value.isprintable():  # it will be printed
        raise InputError(f"attribute '{name}' is {value[:40]!r}, must be one line of text")
    return value


def _parsed(file: h5py.File, name: str, kind: type) -> Any:
    try:
        value = parse_json(_text(file, name))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"attribute '{name}' is not valid JSON: {error}") from None
    if not isinstance(value, kind):
        raise InputError(f"attribute '{name}' is not a JSON {kind.__name__}")
    return value
