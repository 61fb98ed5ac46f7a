"""Trajectories in HDF5: the Gram matrices they come from, and everything derived, labelled.

Only the Gram matrices, sizes, steps and the scalars of the groups are read back; the rest is there
for other programs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.store.hdf5 import numbers_of, reading
from dmft.store.kinds import check_kind
from dmft.store.saving import saving
from dmft.texts import parse_json
from dmft.trajectory.blocks import Factors
from dmft.trajectory.measures import Trajectory
from dmft.trajectory.report import Group, Report, Scalars
from dmft.trajectory.scalars import SCALARS

if TYPE_CHECKING:
    import h5py

SCHEMA = "dmft-trajectory"

_CURVES = {
    "norm": ("norm of the checkpoint", "1", "step"),
    "distance": ("distance from the start", "1", "step"),
    "path_length": ("length of the path up to the checkpoint", "1", "step"),
    "update_norm": ("norm of the update to the checkpoint", "1", "update_step"),
    "origin_angle": ("angle to the checkpoint before, seen from zero", "degrees", "update_step"),
    "update_angle": (
        "angle between the updates to and from the checkpoint",
        "degrees",
        "turn_step",
    ),
    "start_angle": ("angle to the checkpoint before, seen from the start", "degrees", "later_step"),
}


def save_report(
    path: str | Path, report: Report, *, overwrite: bool = False, command_line: str | None = None
) -> None:
    """Write a trajectory to a file, which appears whole or not at all.

    Raises
    ------
    InputError : `path` cannot be written.
    DmftError : writing failed; `path` is as before.
    """
    config = {"source": report.source, **report.settings}
    with saving(path, SCHEMA, config, overwrite=overwrite, command_line=command_line) as file:
        _write_path(file, report)
        _write_groups(file, report)


def load_report(path: str | Path) -> Report:
    """Read a trajectory back.

    Raises
    ------
    InputError : missing, damaged or foreign file.
    """
    with reading(Path(path)) as file:
        schema = file.attrs.get("schema")
        check_kind(schema, (SCHEMA,))
        settings = parse_json(file.attrs["config"])
        trajectory = Trajectory(
            numbers_of(file["step"]),
            _read_blocks(file),
            numbers_of(file["blocks/size"]),
            int(file.attrs["parameters"]),
        )
        return Report(
            path=trajectory,
            source=settings.pop("source"),
            checkpoints=tuple(file["checkpoint"].asstr()[()]),
            grouping=file.attrs["grouping"],
            groups=_read_groups(file),
            skipped=_named(parse_json(file.attrs["skipped"])),
            tied=tuple(parse_json(file.attrs["tied"])),
            notes=parse_json(file.attrs.get("notes", "{}")),
            settings=settings,
        )


def _named(skipped: Any) -> dict[str, str]:
    """Names with reasons; of older files names alone."""
    return dict(skipped) if isinstance(skipped, dict) else dict.fromkeys(skipped, "")


def _read_blocks(file: h5py.File) -> np.ndarray | Factors:
    if "blocks/factor" in file:
        return Factors(numbers_of(file["blocks/factor"]))
    return numbers_of(file["blocks/gram"])


def _write_path(file: h5py.File, report: Report) -> None:
    path = report.path
    file.attrs["parameters"] = path.parameters
    file.attrs["grouping"] = report.grouping
    file.attrs["skipped"] = json.dumps(dict(report.skipped))
    file.attrs["tied"], file.attrs["notes"] = json.dumps(report.tied), json.dumps(report.notes)
    _write_table(file, "scalars", [path.scalars], [])
    _scale(file, "step", path.step, "training step or time")
    _names(file, "checkpoint", report.checkpoints, "step")
    _scale(file, "update_step", path.step[1:], "step that the update leads to")
    _scale(file, "turn_step", path.step[1:-1], "step where the path turns")
    _scale(file, "later_step", path.step[2:], "step of the later checkpoint")
    for name, (long_name, units, scale) in _CURVES.items():
        _dataset(file, f"curves/{name}", path.curves[name], long_name, units, [scale])
    for name, found in report.maps().items():
        _scale(file, f"{name}/row_step", path.step[found.points], "step of the row")
        _scale(file, f"{name}/column_step", path.step[found.points], "step of the column")
        axes = [f"{name}/row_step", f"{name}/column_step"]
        _dataset(file, f"{name}/cosine", found.values, "cosine of two vectors", "1", axes)
        if found.stderr is not None:
            what = "standard error of the cosine"
            _dataset(file, f"{name}/cosine_stderr", found.stderr, what, "1", axes)
    for name, values in path.spectra.items():
        what = f"eigenvalues of the {name} kernel"
        _dataset(file, f"spectra/{name}", values, what, "1", ["spectra/rank"])
    components = path.principal_path()
    what = "leading principal components"
    _dataset(file, "principal_path", components, what, "1", ["step", "component"])
    axes = ["blocks/block", "blocks/basis", "blocks/basis_other"]
    if isinstance(path.blocks, Factors):
        what, along = "factor F of the Gram matrix F F^T", ["step", "blocks/column"]
        _dataset(file, "blocks/factor", path.blocks.values, what, "1", along)
    else:
        _dataset(file, "blocks/gram", path.blocks, "Gram matrices that add up", "1", axes)
    _dataset(file, "blocks/size", path.sizes, "parameters or replicates", "1", axes[:1])


def _write_groups(file: h5py.File, report: Report) -> None:
    if not report.groups:
        return
    _names(file, "groups/name", [group.name for group in report.groups], "groups/group")
    sizes = np.array([group.parameters for group in report.groups])
    _dataset(file, "groups/parameters", sizes, "number of parameters", "1", ["groups/group"])
    _write_table(file, "groups", [group.scalars for group in report.groups], ["groups/group"])


def _write_table(file: h5py.File, name: str, rows: Sequence[Scalars], axes: list[str]) -> None:
    """Values and standard errors, (row, scalar), or of a single row (scalar,).

    What is undefined is 0 and marked as such, since NaN is never stored.
    """
    column_axis = f"{name}/column"
    _names(file, f"{name}/scalar", list(SCALARS), column_axis)
    for place, (what, column) in enumerate((("value", "known"), ("stderr", "stderr_known"))):
        table = [[row[scalar][place] for scalar in SCALARS] for row in rows]
        known = np.array([[value is not None for value in row] for row in table])
        filled = np.array([[0.0 if value is None else value for value in row] for row in table])
        if not axes:
            filled, known = filled[0], known[0]
        along = [*axes, column_axis]
        _dataset(file, f"{name}/{what}", filled, f"{what} of each scalar", "1", along)
        _dataset(file, f"{name}/{column}", known, f"whether the {what} is defined", "1", along)


def _read_groups(file: h5py.File) -> tuple[Group, ...]:
    if "groups" not in file:
        return ()
    group = file["groups"]
    columns = [
        [
            [value if there else None for value, there in zip(*row, strict=True)]
            for row in zip(numbers_of(group[name]).tolist(), group[known][()], strict=True)
        ]
        for name, known in (("value", "known"), ("stderr", "stderr_known"))
    ]
    scalars = group["scalar"].asstr()[()]
    return tuple(
        Group(str(name), int(size), dict(zip(scalars, zip(*row, strict=True), strict=True)))
        for name, size, *row in zip(
            group["name"].asstr()[()], group["parameters"][()], *columns, strict=True
        )
    )


def _scale(file: h5py.File, name: str, values: np.ndarray, long_name: str) -> None:
    _dataset(file, name, values, long_name, "steps", [])
    file[name].make_scale(name.rpartition("/")[2])


def _names(file: h5py.File, name: str, values: Sequence[str], axis: str) -> None:
    """Text, labelled like everything else."""
    file[name] = list(values)
    _attach(file, name, [axis])


def _attach(file: h5py.File, name: str, scales: Sequence[str]) -> None:
    """Attach the scale of each axis; one that does not exist is a plain count."""
    for axis, scale in enumerate(scales):
        if scale not in file:
            file[scale] = np.arange(file[name].shape[axis])
            file[scale].make_scale(scale.rpartition("/")[2])
        file[name].dims[axis].attach_scale(file[scale])


def _dataset(
    file: h5py.File, name: str, values: Any, long_name: str, units: str, scales: list[str]
) -> None:
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinity, refused", name)
    dataset = file.create_dataset(name, data=values)
    dataset.attrs["long_name"], dataset.attrs["units"] = long_name, units
    _attach(file, name, scales)
