"""HDF5: every dataset is a tensor, named by its path without the leading slash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dmft.store.hdf5 import reading
from dmft.trajectory.readers.tensor import Shelf, Tensor, Whole


def tensors(path: Path) -> list[Tensor]:
    """All datasets of a file.

    Raises
    ------
    InputError : no HDF5 file, or a damaged one.
    """
    import h5py

    shelf = Shelf()
    found = []
    with reading(path, own=False) as file:
        names: list[str] = []
        file.visit(names.append)  # visits a dataset once, however many links lead to it
        for name in names:
            dataset = file[name]
            if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
                continue
            offset = dataset.id.get_offset()
            dtype = dataset.dtype
            if offset is not None and dtype.kind == "f" and dtype.newbyteorder("<") == dtype:
                found.append(Tensor(path, name, dataset.shape, dtype.name, offset))
            else:  # chunked, compressed, empty or of a foreign byte order
                whole = Whole(_loader(path, name), shelf)
                found.append(Tensor(path, name, dataset.shape, dtype.name, whole=whole))
    return found


def _loader(path: Path, name: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        with reading(path, own=False) as file:
            values = np.asarray(file[name][()])
            return values.astype(values.dtype.newbyteorder("="), copy=False)

    return load
