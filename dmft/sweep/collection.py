"""A collection as it is read back: labels, states and the values at every point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.store.bounds import plain_attributes
from dmft.store.kinds import check_kind
from dmft.store.migrate import opened
from dmft.store.schema import COLLECTION
from dmft.texts import parse_json


@dataclass(frozen=True)
class Collection:
    """The values of a collection that pictures and tables are made from; curves stay in the file.

    Attributes
    ----------
    dimensions : names, in order; arrays have one axis for each.
    coordinates : labels along each dimension, of zipped axes too, as (dimension, labels).
    status : "done", "not-converged", "failed", "missing" or "unreadable".
    reason : why it is not "done".
    values : numbers at every point, NaN where there are none.
    texts : likewise text, empty where there is none.
    """

    path: Path
    tasks: tuple[str, ...]
    dimensions: tuple[str, ...]
    coordinates: dict[str, tuple[str, np.ndarray]]
    status: np.ndarray
    reason: np.ndarray
    values: dict[str, np.ndarray]
    texts: dict[str, np.ndarray]
    config: dict[str, Any]
    created: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.status.shape


def load_collection(path: str | Path) -> Collection:
    """Read coordinates, states and the values at every point; curves are not touched.

    Parameters
    ----------
    path : file of `dmft sweep collect`.

    Raises
    ------
    InputError : no collection, or a damaged one.
    """
    import h5py

    path = Path(path)
    with opened(path) as file:
        check_kind(file.attrs["schema"], (COLLECTION,))
        dimensions = tuple(parse_json(file.attrs["dimensions"]))
        shape = tuple(len(file[name]) for name in dimensions)
        values: dict[str, np.ndarray] = {}
        texts: dict[str, np.ndarray] = {}
        coordinates: dict[str, tuple[str, np.ndarray]] = {}
        for name, dataset in file.items():
            if not isinstance(dataset, h5py.Dataset):
                continue
            text = dataset.dtype.kind == "O"
            along = dict(plain_attributes(dataset, ["axis_of"])).get("axis_of")
            if not text and dataset.dtype.kind not in "iufb":
                raise InputError(
                    f"dataset /{name} has type {dataset.dtype}, must be numbers or text"
                )
            if dataset.is_virtual and (along is not None or dataset.shape == shape):
                raise InputError(f"dataset /{name} is a view of other files, only curves may be")
            if along is not None:
                coordinates[name] = (along, dataset.asstr()[()] if text else dataset[()])
            elif dataset.shape == shape:
                (texts if text else values)[name] = dataset.asstr()[()] if text else dataset[()]
        config, created = parse_json(file.attrs["config"]), file.attrs["created"]
        if not isinstance(config, dict) or not isinstance(created, str):
            raise InputError("attributes 'config' or 'created' are of the wrong kind, damaged?")
        return Collection(
            path=path,
            tasks=tuple(parse_json(file.attrs["tasks"])),
            dimensions=dimensions,
            coordinates=dict(
                sorted(coordinates.items(), key=lambda pair: dimensions.index(pair[1][0]))
            ),
            status=texts.pop("status"),
            reason=texts.pop("reason"),
            values=values,
            texts=texts,
            config=config,
            created=created,
        )
