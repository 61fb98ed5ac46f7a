"""One file for the analysis of a sweep, with the axes of the grid as labelled dimensions.

The curves of a small sweep are *virtual*: views of the files in the folder of the sweep, which have
stay where they are relative to the collection. A packed collection holds copies, as it must if
there are more points than files that a process may open, because HDF5 opens them all at once.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.config import parse_config
from dmft.errors import InputError
from dmft.store import check_output
from dmft.store.saving import saving
from dmft.store.schema import COLLECTION
from dmft.sweep.collection import Collection, load_collection
from dmft.sweep.folder import Folder, open_folder
from dmft.sweep.grid import Grid, axis_label
from dmft.sweep.sources import Source, look, warn_if_many
from dmft.sweep.worker import FAILED, NOT_CONVERGED

if TYPE_CHECKING:
    import h5py

MISSING, UNREADABLE = "missing", "unreadable"
_MOST_VIRTUAL = 200  # points; a process may usually open 256 to 1024 files


def collect(
    folder: str | Path,
    path: str | Path,
    *,
    packed: bool | None = None,
    overwrite: bool = False,
    command_line: str | None = None,
) -> Collection:
    """Write a collection of all points, with those that are missing marked as such.

    The curves of the first task carry their plain names, those of the others begin with the name of
    the task ("simulate_excess_risk"). Curves run along `node`, up to the number of times of
    each point, and are NaN beyond; `time` holds the times. What begins with "final_" are the
    last values of the curves.

    `wall_seconds` and `cpu_seconds` are what the computations of a point took.

    Parameters
    ----------
    packed : copy the curves; by default where there are more than 200 points, or where the name of
        the folder is not UTF-8, which no view can hold.

    Raises
    ------
    InputError : no sweep, a bad grid, an output that cannot be written.
    """
    there, path = open_folder(folder), Path(path)
    grid = there.grid
    check_output(path, overwrite=overwrite)
    copies = _is_packed(there, path, packed)
    about: dict[str, dict[str, dict[str, str]]] = {task: {} for task in grid.tasks}
    finished = there.finished()
    sources = {
        name: look(there.result(name), item, about[item.task], copies)
        for name, item in grid.items.items()
        if name in finished
    }
    if not copies:
        there_of = Counter(name.partition("-")[0] for name in sources)
        warn_if_many(path, max(there_of.values(), default=0))
    status, reason = _states(there, grid, sources)
    complete = not (set(status) - {"done", NOT_CONVERGED})
    missing = sum(state not in ("done", NOT_CONVERGED) for state in status)
    with saving(
        path,
        COLLECTION,
        parse_config(grid.base),
        overwrite=overwrite,
        command_line=command_line,
        status="done" if complete else "incomplete",
        reason="" if complete else f"{missing} of {len(status)} points have no result",
    ) as file:
        file.attrs["tasks"] = json.dumps(grid.tasks)
        file.attrs["dimensions"] = json.dumps([dimension.name for dimension in grid.dimensions])
        file.attrs["grid"] = there.grid_file.read_text(encoding="utf-8")
        writer = _Writer(file, grid, path.resolve().parent, copies)
        writer.axes()
        writer.formulas()
        writer.texts("status", status, "what became of the point")
        writer.texts("reason", reason, "why the status is not done")
        for task in grid.tasks:
            writer.task(task, sources, about[task])
        for name, (spent, long_name) in _spent(there, grid).items():
            writer.numbers(name, spent, {"long_name": long_name, "units": "s"})
        file.attrs["coordinates"] = " ".join(writer.coordinates)
    return load_collection(path)


# ---------------------------------------------------------------------- what there is


def _is_packed(folder: Folder, path: Path, wanted: bool | None) -> bool:
    """Whether curves are copied: as wanted, or where there are too many, or no view can name them.

    Raises
    ------
    InputError : views are wanted, and no text can hold the name of the folder.
    """
    try:
        _from(path.resolve().parent, folder.path).encode("utf-8")
    except UnicodeEncodeError:
        if wanted is False:
            raise InputError(
                "its name is not UTF-8, no view of its results can hold it; --packed copies them",
                str(folder.path),
            ) from None
        return True
    return len(folder.grid.points) > _MOST_VIRTUAL if wanted is None else wanted


def _from(home: Path, path: Path) -> str:
    return os.path.relpath(os.path.realpath(path), home)  # which takes loops of links as they are


def _states(
    folder: Folder, grid: Grid, sources: Mapping[str, Source]
) -> tuple[list[str], list[str]]:
    """Status and reason of every point: the worst of its items."""
    notes = {name: folder.read_note(name) for name in folder.noted() & grid.items.keys()}
    order = [FAILED, UNREADABLE, MISSING, NOT_CONVERGED, "done"]
    status, reason = [], []
    for point in grid.points:
        found = []
        for item in point.items:
            note = notes.get(item.name, {})
            if item.name in sources and sources[item.name].problem:
                found.append((UNREADABLE, sources[item.name].problem))
            elif item.name in sources:
                converged = note.get("status") != NOT_CONVERGED
                found.append(("done", "") if converged else (NOT_CONVERGED, note["reason"]))
            elif note.get("status") == FAILED:
                found.append((FAILED, note["reason"]))
            else:
                found.append((MISSING, f"{item.task} was not computed yet"))
        worst = min(found, key=lambda pair: order.index(pair[0]))
        status.append(worst[0])
        reason.append(worst[1])
    return status, reason


def _spent(folder: Folder, grid: Grid) -> dict[str, tuple[list[float], str]]:
    """Time that the items of every point took, all tries together; NaN where none was computed.

    Nothing where no item has one.
    """
    events, found = list(folder.events()), {}
    for name, key, words in (
        ("wall_seconds", "seconds", "wall-clock time of the computations"),
        ("cpu_seconds", "cpu_seconds", "CPU time of the computations"),
    ):
        of_items: dict[str, float] = {}
        for event in events:
            seconds = event.get(key)
            if isinstance(seconds, int | float) and math.isfinite(seconds):
                item = str(event.get("item"))
                of_items[item] = of_items.get(item, 0.0) + seconds
        of_points = []
        for point in grid.points:
            known = [of_items[item.name] for item in point.items if item.name in of_items]
            of_points.append(sum(known) if known else math.nan)
        if of_items:
            found[name] = (of_points, words)
    return found


# ---------------------------------------------------------------------- writing


class _Writer:
    """Puts datasets of the shape of the grid into an open file."""

    def __init__(self, file: h5py.File, grid: Grid, home: Path, packed: bool) -> None:
        self._file, self._grid, self._home, self._packed = file, grid, home, packed
        self.coordinates: list[str] = []

    def axes(self) -> None:
        """One scale per dimension; zipped axes are coordinates along the first of them."""
        for dimension in self._grid.dimensions:
            if dimension.name not in dimension.names:
                number = self._create(dimension.name, np.arange(len(dimension)))
                number.attrs["long_name"] = f"number of the {dimension.name}"
                number.attrs["axis_of"] = dimension.name
                number.make_scale(dimension.name)
            for axis, name in zip(dimension.axes, dimension.names, strict=True):
                dataset = self._create(name, _labels(axis.values))
                dataset.attrs["long_name"] = axis.key
                dataset.attrs["axis_of"] = dimension.name
                if name == dimension.name:
                    dataset.make_scale(name)
                else:
                    dataset.dims[0].attach_scale(self._file[dimension.name])
                    self.coordinates.append(name)

    def formulas(self) -> None:
        """Settings that follow from the axes, at every point."""
        for key, (name, _) in self._grid.formulas.items():
            values = [point.values[name] for point in self._grid.points]
            dataset = self._create(name, np.reshape(values, self._grid.shape))
            self._label(dataset, {"long_name": key})
            self.coordinates.append(name)

    def texts(self, name: str, texts: Sequence[str], long_name: str) -> None:
        """A text at every point; names of files in it need not be UTF-8."""
        known = [text.encode("utf-8", "backslashreplace").decode("utf-8") for text in texts]
        dataset = self._create(name, np.array(known, dtype=object).reshape(self._grid.shape))
        self._label(dataset, {"long_name": long_name})

    def numbers(self, name: str, numbers: Sequence[float], about: Mapping[str, str]) -> None:
        """A number at every point."""
        self._label(self._create(name, np.reshape(numbers, self._grid.shape)), about)

    def task(
        self, task: str, sources: Mapping[str, Source], about: Mapping[str, dict[str, str]]
    ) -> None:
        """Curves, last values and values of one task."""
        prefix = "" if task == self._grid.tasks[0] else f"{task}_"
        number = self._grid.tasks.index(task)
        found = [sources.get(point.items[number].name) for point in self._grid.points]
        paths = ["" if source is None else _from(self._home, source.path) for source in found]
        self.texts(f"{prefix}file", paths, f"file of the {task} result, seen from here")
        there = [source for source in found if source is not None]
        for name in sorted({name for source in there for name in source.scalars}):
            values = [None if source is None else source.scalars.get(name) for source in found]
            self._values(prefix, name, values, about)
        longest = max((n for source in there for n in source.lengths.values()), default=0)
        if longest:
            self._nodes(f"{prefix}node", longest)
        for name in sorted({name for source in there for name in source.lengths}):
            if self._packed:
                dataset = self._copied(prefix + name, name, found, longest)
            else:
                dataset = self._view(prefix + name, name, found, paths, longest)
            self._label(dataset, about[name], f"{prefix}node")
            if name == "time":
                self.coordinates.append(dataset.name.lstrip("/"))

    def _nodes(self, name: str, length: int) -> None:
        scale = self._create(name, np.arange(length))
        scale.attrs["long_name"] = "number of the time"
        scale.make_scale(name)

    def _values(
        self, prefix: str, name: str, values: list[Any], about: Mapping[str, dict[str, str]]
    ) -> None:
        curve = name.removeprefix("final_")
        labels = dict(about.get(curve, {}))
        if curve != name and "long_name" in labels:
            labels["long_name"] = f"{labels['long_name']} at the end"
        if any(isinstance(value, str) for value in values):
            texts = [value or "" for value in values]
            self.texts(prefix + name, texts, labels.get("long_name", name))
            return
        numbers = [np.nan if value is None else value for value in values]
        self.numbers(prefix + name, numbers, labels)

    def _copied(
        self, name: str, curve: str, found: Sequence[Source | None], longest: int
    ) -> h5py.Dataset:
        values = np.full((len(found), longest), np.nan)
        for row, source in zip(values, found, strict=True):
            if source is not None and curve in source.curves:
                row[: source.lengths[curve]] = source.curves[curve]
        shape = (*self._grid.shape, longest)
        return self._file.create_dataset(name, data=values.reshape(shape), fillvalue=np.nan)

    def _view(
        self,
        name: str,
        curve: str,
        found: Sequence[Source | None],
        paths: Sequence[str],
        longest: int,
    ) -> h5py.Dataset:
        import h5py

        layout = h5py.VirtualLayout((*self._grid.shape, longest), "f8")
        for point, source, path in zip(self._grid.points, found, paths, strict=True):
            if source is not None and curve in source.lengths:
                length = source.lengths[curve]
                file = path.replace("%", "%%")  # HDF5 replaces what follows a single one
                view = h5py.VirtualSource(file, curve, shape=(length,), dtype="f8")
                layout[(*point.position, slice(0, length))] = view
        return self._file.create_virtual_dataset(name, layout, fillvalue=np.nan)

    def _create(self, name: str, values: np.ndarray) -> h5py.Dataset:
        import h5py

        dtype = h5py.string_dtype() if values.dtype.kind in "OU" else values.dtype
        return self._file.create_dataset(name, data=values.astype(dtype), dtype=dtype)

    def _label(
        self, dataset: h5py.Dataset, about: Mapping[str, str], last: str | None = None
    ) -> None:
        for key, text in about.items():
            dataset.attrs[key] = text
        scales = [dimension.name for dimension in self._grid.dimensions]
        for number, scale in enumerate([*scales, last] if last else scales):
            dataset.dims[number].attach_scale(self._file[scale])


def _labels(values: Sequence[Any]) -> np.ndarray:
    """Numbers where all are numbers, else text."""
    labels = [axis_label(value) for value in values]
    if all(isinstance(label, int | float) for label in labels):
        return np.array(labels)
    return np.array([str(label) for label in labels], dtype=object)
