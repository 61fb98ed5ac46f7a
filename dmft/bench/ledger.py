"""Measurements in a JSON file: each is made once, and a run that was killed goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.store.output import replacing
from dmft.texts import parse_json, read_text

_SCHEMA, _VERSION = "dmft-bench", 3
_LONGEST, _MOST_NUMBERS = 1 << 28, 5_000_000  # bytes, and entries of lists
Record = dict[str, Any]


class Ledger:
    """Records by name, saved after each new one.

    Names are paths like "P0/mean-field/1024 paths, rtol 0.01/seed 3". A record is what `work`
    returned, as JSON holds it: arrays become lists.
    """

    def __init__(self, path: Path | None, say: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        self._say = say
        self.head: Record = {}
        self.records: dict[str, Record] = {}
        self.results: Record = {}
        if path is not None and path.exists():
            self._read(path)

    def measure(self, name: str, work: Callable[[], Record]) -> Record:
        """The record of this name; made by `work` and saved if it is not there yet."""
        if name not in self.records:
            self._say(name)
            self.records[name] = json.loads(json.dumps(work(), default=_plain))
            self.save()
        return self.records[name]

    def forget(self, part: str) -> int:
        """Drop every record whose name contains `part`; how many there were."""
        names = [name for name in self.records if part in name]
        for name in names:
            del self.records[name]
        return len(names)

    def under(self, prefix: str) -> Iterator[tuple[str, Record]]:
        """Names and records below a name."""
        for name, record in self.records.items():
            if name.startswith(f"{prefix}/"):
                yield name[len(prefix) + 1 :], record

    def save(self) -> None:
        """Write everything."""
        if self._path is None:
            return
        table = {
            "schema": _SCHEMA, "version": _VERSION, **self.head,
            "results": self.results, "records": self.records,
        }  # fmt: skip
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps(table, indent=1, default=_plain) + "\n", "utf-8")

    def _read(self, path: Path) -> None:
        try:
            table = parse_json(read_text(path, _LONGEST), _MOST_NUMBERS)
        except InputError:
            raise
        except (OSError, ValueError):
            raise InputError("is no readable JSON file", str(path)) from None
        if not isinstance(table, dict) or table.get("schema") != _SCHEMA:
            raise InputError("is no file of dmft bench", str(path))
        if table.get("version") != _VERSION:
            raise InputError(
                f"given version {table.get('version')}, must be {_VERSION}; measure anew into "
                "another file", str(path),
            )  # fmt: skip
        self.records = table.pop("records")
        self.results = table.pop("results")
        self.head = {key: table[key] for key in table if key not in ("schema", "version")}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a record")
