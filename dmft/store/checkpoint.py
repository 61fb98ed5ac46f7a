"""Checkpoints: the output of a running solve or simulation, which `dmft resume` continues.

Such a file has the root attributes of every other, the status "running" and a group /checkpoint
that mirrors the nested state of the solver: arrays are datasets, every other value is an
attribute in JSON, which keeps integers of any size, exact floats, text and None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.config import Config
from dmft.errors import InputError
from dmft.store.hdf5 import writing
from dmft.store.header import parse_header, write_header
from dmft.store.kinds import KINDS
from dmft.store.migrate import opened
from dmft.store.schema import CHECKPOINT, RUNNING, SIMULATION, SOLUTION
from dmft.texts import parse_json

if TYPE_CHECKING:
    import h5py


def save_checkpoint(
    path: str | Path,
    config: Config,
    state: Mapping[str, Any],
    command_line: str | None = None,
    schema: str = SOLUTION,
) -> None:
    """Replace `path`, whatever it holds, by a checkpoint; an empty state marks the start.

    Parameters
    ----------
    path : the output file of the solve.
    config : the full configuration, from which the solve can be continued.
    state : nested dict of text keys; leaves are arrays, int, float, str or None.
    command_line : stored as the origin of the file; that of this process by default.
    schema : of what the file will hold.

    Raises
    ------
    DmftError : writing failed, for instance on a full disk; the previous checkpoint is as before.
    TypeError, ValueError : a state that could not be read back.
    """
    with writing(Path(path)) as file:
        write_header(
            file,
            schema,
            config,
            seeds=((config.solver if schema == SOLUTION else config.simulation).seed,),
            command_line=command_line,
            status=RUNNING,
            reason="not finished yet",
        )
        write_tree(file.create_group(CHECKPOINT), state)


def load_checkpoint(path: str | Path, *, finished: bool = False) -> tuple[Config, dict[str, Any]]:
    """Read a checkpoint back; arrays come back in C order.

    Parameters
    ----------
    finished : of a finished file, the state from which it can be extended.

    Raises
    ------
    InputError : not a checkpoint, or a damaged one; a finished file that keeps no state.
    """
    with opened(Path(path)) as file:
        header = parse_header(file)
        if header.schema not in (SOLUTION, SIMULATION):
            raise InputError(
                f"is {KINDS[header.schema].name}, only a solve or a simulation can be resumed"
            )
        if header.status != RUNNING and not finished:
            raise InputError(f"is finished ({header.status}), nothing to resume")
        group = file.get(CHECKPOINT)
        if group is None or not hasattr(group, "keys"):
            raise InputError(f"group /{CHECKPOINT} is missing")
        return header.config, _read_tree(group)


def write_tree(group: h5py.Group, state: Mapping[str, Any]) -> None:
    """Write a nested state; see the top of this module."""
    for key, value in state.items():
        if not isinstance(key, str) or not key or "/" in key or key == ".":
            raise ValueError(f"checkpoint key {key!r} cannot name a dataset")
        if isinstance(value, Mapping):
            write_tree(group.create_group(key), value)
        elif getattr(value, "stays_in_memory", False):
            continue
        elif isinstance(value, np.ndarray):
            group.create_dataset(key, data=value)
        else:
            scalar = value.item() if isinstance(value, np.generic) else value
            if scalar is not None and not isinstance(scalar, bool | int | float | str):
                raise TypeError(f"checkpoint value '{key}' is a {type(value).__name__}")
            group.attrs[key] = json.dumps(scalar)


def _read_tree(group: h5py.Group, above: tuple[h5py.Group, ...] = ()) -> dict[str, Any]:
    import h5py

    if group in above:
        raise InputError(f"group {group.name} holds itself, damaged?")
    state: dict[str, Any] = {}
    for key, text in group.attrs.items():
        try:
            state[key] = parse_json(text)
        except (TypeError, ValueError):
            raise InputError(f"attribute '{key}' of {group.name} is damaged") from None
    for key, value in group.items():
        if isinstance(value, h5py.Dataset):
            state[key] = np.asarray(value[()])
        elif isinstance(value, h5py.Group):
            state[key] = _read_tree(value, (*above, group))
        else:
            raise InputError(f"'{key}' of {group.name} is damaged")
    return state
