"""The results behind a collection, read for it, or shown by it as views.

Of a view that it cannot open, HDF5 reads NaN, without a word."""

from __future__ import annotations

import json
import resource
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.config import flat, parse_config
from dmft.errors import InputError
from dmft.store.bounds import plain_attributes
from dmft.store.hdf5 import numbers_of, reading
from dmft.store.schema import COLLECTION
from dmft.sweep.tasks import TASKS, Item, make_items, ordered_tasks
from dmft.texts import parse_json
from dmft.validation import echo

if TYPE_CHECKING:
    import h5py

# Of a solution or a simulation; not collected, since they say nothing about a point.
_LEFT_OUT = {"panel", "seed"}
_SPARE = 64  # files that a process has open for other reasons


@dataclass
class Source:
    """What the file of an item holds: its curves if they are to be copied, their lengths and last
    values, values without axes."""

    path: Path
    lengths: dict[str, int] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    problem: str = ""


def look(path: Path, item: Item, about: dict[str, dict[str, str]], copies: bool) -> Source:
    """Read a result: once, as there may be thousands.

    Parameters
    ----------
    item : what it should be the result of.
    about : name and unit of what results of this task hold; what is new is added.
    copies : keep the curves.
    """
    import h5py

    source = Source(path)
    try:
        with reading(path) as file:
            _check_settings(file.attrs["config"], item)
            for name in file.keys() - _LEFT_OUT:
                dataset = file.get(name)
                if not isinstance(dataset, h5py.Dataset):
                    continue
                if dataset.ndim == 0:
                    text = dataset.dtype.kind == "O"
                    source.scalars[name] = dataset.asstr()[()] if text else float(dataset[()])
                elif dataset.ndim == 1:
                    curve = numbers_of(dataset)
                    source.lengths[name] = len(curve)
                    source.scalars[f"final_{name}"] = float(curve[-1])
                    if copies:
                        source.curves[name] = curve
                if name not in about:
                    texts = plain_attributes(dataset, ("long_name", "units"))
                    about[name] = {key: text for key, text in texts if isinstance(text, str)}
    except InputError as error:
        return Source(path, problem=error.message)
    return source


def _check_settings(text: str, item: Item) -> None:
    """Refuse the result of another problem: one that was extended in its place, or put there.

    Raises
    ------
    InputError : it names a setting.
    """
    wanted = item.config.to_table()
    if text == json.dumps(wanted):
        return
    found = parse_config(parse_json(text))
    if item.name in (each.name for each in make_items(ordered_tasks([item.task]), found)):
        return
    there = dict(flat(found.to_table()))
    for key, value in flat(wanted):
        if there.get(key) != value and key.startswith(TASKS[item.task].depends_on):
            raise InputError(
                f"holds {key} = {there.get(key)}, the point has {value}: extended, or of another "
                "sweep? Move it away and run the sweep again"
            )
    raise InputError("holds other settings than the point")


def check_views(dataset: h5py.Dataset, files: np.ndarray) -> None:
    """Refuse a curve that shows anything else at a point than the file that is named there.

    Parameters
    ----------
    files : at every point, as the collection names them.

    Raises
    ------
    InputError : as said.
    """
    plan = dataset.id.get_create_plist()
    for number in range(plan.get_virtual_count() if dataset.is_virtual else 0):
        first, last = plan.get_virtual_vspace(number).get_select_bounds()
        point = first[: files.ndim]
        shown = plan.get_virtual_filename(number).replace("%%", "%")
        if point != last[: files.ndim] or shown != files[point]:
            raise InputError(f"dataset {dataset.name} shows {echo(shown)}, which is not its result")


def check_sources(collection: Path, files: str | np.ndarray) -> None:
    """Refuse a virtual collection whose results moved, are damaged, or are too many to open.

    Parameters
    ----------
    files : paths from the folder of the collection, empty where a point has no result.

    Raises
    ------
    InputError : it names the result and says what to do.
    """
    names = [str(name) for name in np.ravel(np.asarray(files, dtype=object)) if name]
    _raise_limit(len(names) + _SPARE)
    for name in names:
        path = collection.resolve().parent / name
        try:
            with reading(path) as file:
                if file.attrs.get("schema") == COLLECTION:
                    raise InputError("is a collection itself")
        except InputError as error:
            raise InputError(
                f"its curves are in {path}, which {_clause(error.message)}; put it back where it "
                "was, or collect again with --packed",
                str(collection),
            ) from None


def warn_if_many(collection: Path, files: int) -> None:
    """Warn of a virtual collection that shows more files than a process here may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and files + _SPARE > soft:
        warnings.warn(
            f"{collection}: shows {files} files at once, a process may open {soft} here; other "
            "programs read NaN for the rest, --packed (packed=True) copies the curves",
            stacklevel=2,
        )


def _clause(message: str) -> str:
    return "is missing" if message == "no such file" else message


def _raise_limit(wanted: int) -> None:
    """Let this process open so many files, if the system allows.

    Raises
    ------
    InputError : it does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise InputError(
            f"shows {wanted - _SPARE} files at once, this process may open {hard}; "
            "collect again with --packed"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
