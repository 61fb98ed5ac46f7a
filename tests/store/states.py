"""States in files, as this package and others leave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dmft.store.packing import pack, unpack


def change_state(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the state in a file as another program may: its checksum is lost."""
    with h5py.File(path, "r+") as file:
        group = file["checkpoint"]
        state = unpack(*(group[name][()].tobytes() for name in ("table", "arrays")))
        change(state)
        write_pieces(group, *pack(state))


def without(state: dict[str, Any], name: str) -> None:
    """Take one thing out of a state."""
    *above, last = name.split("/")
    for key in above:
        state = state[key]
    del state[last]


def write_pieces(group: h5py.Group, table: bytes, arrays: bytes) -> None:
    for name, piece in (("table", table), ("arrays", arrays)):
        if name in group:
            del group[name]
        group.create_dataset(name, data=np.frombuffer(piece, np.uint8))


def write_mirrored(group: h5py.Group, state: dict[str, Any]) -> None:
    """As versions before wrote states: a dataset for every array."""
    for key, value in state.items():
        if isinstance(value, dict):
            write_mirrored(group.create_group(key), value)
        elif isinstance(value, np.ndarray):
            group.create_dataset(key, data=value)
        else:
            group.attrs[key] = json.dumps(value)
