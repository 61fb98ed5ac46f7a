"""The folder of a sweep: what is where, and what state every item is in.

    grid.toml   the grid
    sweep.json  settings of its base when it was made
    results/    one file per finished item
    running/    checkpoints and claims of items being computed
    notes/      why an item failed, or did not converge: one small JSON file for each
    log/        what every process did, one line of JSON per event
    slurm/      batch scripts and their output

The state of an item follows from the names of files alone, so that thousands are looked at in
no time, and a killed process leaves nothing to repair.
"""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dmft.errors import InputError
from dmft.store import replacing
from dmft.store.output import one_line
from dmft.sweep.grid import Grid, base_settings, load_grid
from dmft.sweep.tasks import TASKS, Item
from dmft.texts import parse_json, read_text
from dmft.validation import is_finite

_FOLDERS = ("results", "running", "notes", "log")
FORMAT = 1
_LONGEST_LINE = 1 << 20  # characters of a log


@dataclass(frozen=True)
class Folder:
    """The files of a sweep."""

    path: Path

    def result(self, name: str) -> Path:
        """Where the result of an item is, once it is finished."""
        return self.path / "results" / f"{name}.h5"

    def unfinished(self, name: str) -> Path:
        """Where an item is computed: a checkpoint."""
        return self.running / f"{name}.h5"

    def note(self, name: str) -> Path:
        """Why an item failed or did not converge."""
        return self.path / "notes" / f"{name}.json"

    @property
    def running(self) -> Path:
        return self.path / "running"

    @property
    def grid_file(self) -> Path:
        return self.path / "grid.toml"

    @cached_property
    def grid(self) -> Grid:
        """The grid in grid.toml, whose base must be the one that the results belong to.

        Raises
        ------
        InputError : not a folder of a sweep, a bad grid, a changed base.
        """
        grid = _load(self.grid_file)
        _check_base(self, grid)
        return grid

    def finished(self) -> set[str]:
        """Names of the items that have a result."""
        return set(self._names("results", ".h5"))

    def noted(self) -> set[str]:
        """Names of the items that have a note."""
        return set(self._names("notes", ".json"))

    def read_note(self, name: str) -> dict[str, Any]:
        """A note: status, reason, errors; empty if there is none, or none that can be read."""
        try:
            note = parse_json(read_text(self.note(name)))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            note = None
        if isinstance(note, dict) and all(
            isinstance(note.get(key), str) for key in ("status", "reason")
        ):
            return note
        warnings.warn(f"{self.note(name)}: is damaged, taken for no note", stacklevel=2)
        return {}

    def write_note(self, name: str, note: Mapping[str, Any]) -> None:
        """Replace the note of an item."""
        with replacing(self.note(name)) as temporary:
            temporary.write_text(json.dumps(note, indent=1), encoding="utf-8")

    def log(self, event: Mapping[str, Any]) -> None:
        """Add a line to the log of this process; nobody else writes to that file."""
        line = {"time": round(time.time(), 3), **event}
        path = self.path / "log" / f"{platform.node()}-{os.getpid()}.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """All lines of all logs; a line that a killed process left half-written is skipped."""
        for path in sorted((self.path / "log").glob("*.jsonl")):
            for line in _lines(path):
                with suppress(ValueError):
                    event = parse_json(line)
                    if _is_event(event):
                        yield event

    def _names(self, folder: str, ending: str) -> Iterator[str]:
        for entry in os.scandir(self.path / folder):
            if entry.name.endswith(ending) and not entry.name.startswith("."):
                yield entry.name.removesuffix(ending)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a log, up to one that no process here can have written."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        while line := file.readline(_LONGEST_LINE):
            yield line
            if len(line) == _LONGEST_LINE:
                return


def _is_event(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("item", ""), str)
        and all(is_finite(value.get(key, 0)) for key in ("seconds", "cpu_seconds", "restarts"))
    )


def create(grid_file: str | Path, path: str | Path, *, replace: bool = False) -> Folder:
    """Make a folder for a grid, or give an existing folder an edited grid.

    Results are kept whatever happens: those that belong to points of the new grid are not
    computed again, the others wait for their point to come back.

    Parameters
    ----------
    grid_file : TOML, see docs/sweeps.md.
    path : the folder, new or of a sweep.
    replace : accept a base that differs from the one that existing results were computed with.

    Raises
    ------
    InputError : a bad grid, a changed base over old results, a folder that holds other things.
    """
    grid_file, folder = Path(grid_file), Folder(Path(path))
    if grid_file.is_fifo():
        raise InputError("is a pipe, must be a file: it is copied into the folder", str(grid_file))
    grid = _load(grid_file)
    _ = grid.points  # validates them
    if folder.path.exists() and not folder.path.is_dir():
        raise InputError("is a file, must be a folder", str(folder.path))
    new = not (folder.path / "sweep.json").exists()
    if new and folder.path.is_dir() and any(folder.path.iterdir()):
        raise InputError("exists, is not empty and holds no sweep; choose another", str(path))
    if not new and not replace:
        _check_base(folder, grid)
    text = grid_file.read_text(encoding="utf-8")
    base = {"format": FORMAT, "base": base_settings(grid)}
    try:
        for name in _FOLDERS:
            (folder.path / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made ({one_line(error)})", str(path)) from None
    with replacing(folder.grid_file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with replacing(folder.path / "sweep.json") as temporary:
        temporary.write_text(json.dumps(base, indent=1), encoding="utf-8")
    return folder


def open_folder(path: str | Path) -> Folder:
    """The folder of a sweep.

    Parameters
    ----------
    path : what `create` made.

    Raises
    ------
    InputError : it is none.
    """
    folder = Folder(Path(path))
    if not (folder.path / "sweep.json").is_file() or not folder.grid_file.is_file():
        what = "is no folder of a sweep" if folder.path.exists() else "no such folder"
        raise InputError(f"{what}, make one with: dmft sweep init GRID.toml FOLDER", str(path))
    for name in _FOLDERS:
        try:
            (folder.path / name).mkdir(exist_ok=True)  # empty ones may get lost when copying
        except FileExistsError:
            raise InputError("must be a folder", str(folder.path / name)) from None
    return folder


def _load(path: Path) -> Grid:
    try:
        return load_grid(path)
    except InputError as error:
        raise error.within(path) from None


def _check_base(folder: Folder, grid: Grid) -> None:
    """Refuse a base that differs from the recorded one where results would be orphaned."""
    tasks = {name.partition("-")[0] for name in folder.finished()} & set(grid.tasks)
    if not tasks:
        return
    try:
        recorded = dict(parse_json(read_text(folder.path / "sweep.json"))["base"])
    except (OSError, ValueError, LookupError, TypeError):
        raise InputError("is damaged", str(folder.path / "sweep.json")) from None
    relevant = tuple(prefix for task in tasks for prefix in TASKS[task].depends_on)
    now = base_settings(grid)
    for key in sorted(recorded.keys() & now.keys()):
        if key.startswith(relevant) and recorded[key] != now[key]:
            raise InputError(
                f"given {now[key]!r}, the results in {folder.path} were computed with "
                f"{recorded[key]!r}: take another folder, or keep them aside with "
                "dmft sweep init GRID.toml FOLDER --replace",
                f"base.{key}",
            )


def items_of(folder: Folder, indices: range | None = None) -> dict[str, Item]:
    """Items of all points or of some, by name, each after what it needs."""
    points = folder.grid.points
    chosen = points if indices is None else [points[i] for i in indices if i < len(points)]
    order = {task: number for number, task in enumerate(TASKS)}
    items = {item.name: item for point in chosen for item in point.items}
    return dict(sorted(items.items(), key=lambda pair: order[pair[1].task]))
