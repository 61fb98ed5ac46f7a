"""Checkpoints: the output of a running solve or simulation, which `dmft resume` continues.

Such a file has the root attributes of every other, the status "running" and a group /checkpoint
with the nested state of the solver, packed into two datasets. Older files mirror it: groups are
dictionaries, datasets arrays, and every other value is an attribute in JSON.
"""

from __future__ import annotations

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
from dmft.store.packing import pack, unpack
from dmft.store.schema import CHECKPOINT, RUNNING, SIMULATION, SOLUTION
from dmft.texts import parse_json

if TYPE_CHECKING:
    import h5py

_TABLE, _ARRAYS = "table", "arrays"  # datasets of the group


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
        write_state(file, state)


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
        return header.config, _read_state(group)


def write_state(file: h5py.File, state: Mapping[str, Any]) -> None:
    """Write a nested state.

    Raises
    ------
    TypeError, ValueError : one that could not be read back.
    """
    pieces = pack(state)
    group = file.create_group(CHECKPOINT)
    for name, piece in zip((_TABLE, _ARRAYS), pieces, strict=True):
        group.create_dataset(name, data=np.frombuffer(piece, np.uint8))


def _read_state(group: h5py.Group) -> dict[str, Any]:
    pieces = [group.get(name) for name in (_TABLE, _ARRAYS)]
    if set(group) != {_TABLE, _ARRAYS} or not all(hasattr(piece, "dtype") for piece in pieces):
        return _read_tree(group)
    if any(piece.dtype != np.uint8 or piece.ndim != 1 for piece in pieces):
        raise InputError(f"group {group.name} is damaged, must hold two rows of bytes")
    return unpack(*(piece[()].tobytes() for piece in pieces))


def _read_tree(group: h5py.Group, above: tuple[h5py.Group, ...] = ()) -> dict[str, Any]:
    """The state of an older file."""
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
            if value.dtype.kind not in "iufb":
                raise InputError(f"'{key}' of {group.name} has type {value.dtype}, damaged?")
            state[key] = np.asarray(value[()])
        elif isinstance(value, h5py.Group):
            state[key] = _read_tree(value, (*above, group))
        else:
            raise InputError(f"'{key}' of {group.name} is damaged")
    return state
