"""Files of this package as a stranger may write them: each is a good one with one thing wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

Change = Callable[[h5py.File], object]


def made(good: Path, path: Path, change: Change) -> None:
    """A copy of a good file with a change, and without the checksum that would tell."""
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        del file.attrs["digest"]
        change(file)


def _replaced(file: h5py.File, name: str, values: object, **more: object) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=values, **more)


def _virtual(file: h5py.File, name: str, source: str) -> None:
    shape = file[name].shape
    layout = h5py.VirtualLayout(shape, "f8")
    layout[...] = h5py.VirtualSource(source, "a", shape=shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def _bomb(file: h5py.File, name: str, length: int) -> None:
    """Zeros that take a thousandth of their size in the file."""
    del file[name]
    dataset = file.create_dataset(
        name, shape=(length,), dtype="f8", chunks=(2**20,), compression="gzip", compression_opts=1
    )
    block = np.zeros(2**20)
    for start in range(0, length, 2**20):
        dataset[start : start + 2**20] = block[: length - start]


def _references(file: h5py.File, name: str, kind: type) -> None:
    dtype = h5py.ref_dtype if kind is h5py.Reference else h5py.regionref_dtype
    there = file[name]
    given = there.ref if kind is h5py.Reference else there.regionref[:2]
    values = file.create_dataset("references", shape=there.shape[:1], dtype=dtype)
    values[...] = given
    del file[name]
    file[name] = values


def _link(file: h5py.File, name: str, link: object) -> None:
    if name in file:
        del file[name]
    file[name] = link


def _config(file: h5py.File, change: Callable[[dict], object]) -> None:
    table = json.loads(file.attrs["config"])
    change(table)
    file.attrs["config"] = json.dumps(table)


CURVE = "excess_risk"
OF_SOLUTIONS: dict[str, Change] = {
    "list_of_statuses": lambda f: f.attrs.__setitem__("status", ["done", "done"]),
    "unknown_status": lambda f: f.attrs.__setitem__("status", "splendid"),
    "empty_status": lambda f: f.attrs.__setitem__("status", h5py.Empty("f8")),
    "reference_as_schema": lambda f: f.attrs.__setitem__("schema", f["time"].ref),
    "region_as_reason": lambda f: f.attrs.create(
        "reason", f["time"].regionref[:1], dtype=h5py.regionref_dtype
    ),
    "compound_version": lambda f: f.attrs.__setitem__(
        "schema_version", np.array((2, 3), dtype=[("major", "i4"), ("minor", "i4")])
    ),
    "version_of_many_digits": lambda f: f.attrs.__setitem__("schema_version", "9" * 5000 + ".0"),
    "version_in_other_digits": lambda f: f.attrs.__setitem__("schema_version", "²"),
    "newline_in_schema": lambda f: f.attrs.__setitem__("schema", "dmft-solution\n\n\n"),
    "newline_in_status": lambda f: f.attrs.__setitem__("status", "done\nTraceback"),
    "rtol_of_many": lambda f: f.attrs.__setitem__("rtol", np.ones(3)),
    "rtol_as_text": lambda f: f.attrs.__setitem__("rtol", "1e-3\n"),
    "rtol_infinite": lambda f: f.attrs.__setitem__("rtol", np.inf),
    "seeds_as_table": lambda f: f.attrs.__setitem__("seeds", "{}"),
    "seeds_of_many_digits": lambda f: f.attrs.__setitem__("seeds", "[" + "9" * 9000 + "]"),
    "config_of_numbers": lambda f: f.attrs.__setitem__("config", "[1, 2]"),
    "config_not_a_number": lambda f: f.attrs.__setitem__("config", "NaN"),
    "huge_t_max": lambda f: _config(f, lambda c: c["solver"].update(t_max=10**400)),
    "no_time": lambda f: f.__delitem__("time"),
    "time_as_group": lambda f: (f.__delitem__("time"), f.create_group("time/time")),
    "scalar_curve": lambda f: _replaced(f, CURVE, 1.0),
    "null_curve": lambda f: _replaced(f, CURVE, h5py.Empty("f8")),
    "complex_curve": lambda f: _replaced(f, CURVE, np.ones(len(f["time"]), complex)),
    "compound_curve": lambda f: _replaced(f, CURVE, np.zeros(len(f["time"]), [("a", "f8")])),
    "text_curve": lambda f: _replaced(f, CURVE, ["1.0"] * len(f["time"])),
    "ragged_curve": lambda f: f.create_dataset(
        f"kernels/{CURVE}", shape=(3,), dtype=h5py.vlen_dtype("f8")
    ) and _link(f, CURVE, f[f"kernels/{CURVE}"]),
    "wide_curve": lambda f: _replaced(f, CURVE, np.zeros((len(f["time"]), 2))),
    "long_double_curve": lambda f: _replaced(
        f, CURVE, np.full(len(f["time"]), np.finfo(np.longdouble).max)
    ),
    "references": lambda f: _references(f, CURVE, h5py.Reference),
    "regions": lambda f: _references(f, CURVE, h5py.RegionReference),
    "curve_elsewhere": lambda f: _link(f, CURVE, h5py.ExternalLink("other.hdf", "/a")),
    "curve_of_itself": lambda f: _link(f, CURVE, h5py.SoftLink(f"/{CURVE}")),
    "curve_is_root": lambda f: _link(f, CURVE, f["/"]),
    "ring_of_links": lambda f: (
        _link(f, CURVE, h5py.SoftLink("/x")), f.__setitem__("x", h5py.SoftLink(f"/{CURVE}"))
    ),
    "kernels_are_root": lambda f: _link(f, "kernels", f["/"]),
    "paths_is_a_curve": lambda f: ("paths" in f and f.__delitem__("paths"),
                                   f.__setitem__("paths", f["time"])),
    "observables_is_a_curve": lambda f: _link(f, "observables", f["time"]),
    "work_is_a_curve": lambda f: _link(f, "work", f["time"]),
    "work_of_text": lambda f: f["work"].attrs.__setitem__("panels", "many"),
    "work_of_many": lambda f: f["work"].attrs.__setitem__("panels", np.ones(10)),
    "view_of_a_pipe": lambda f: _virtual(f, CURVE, "pipe.hdf"),
    "view_of_itself": lambda f: _virtual(f, CURVE, "."),
    "huge_chunk": lambda f: (f.__delitem__(CURVE), f.create_dataset(
        CURVE, shape=(2**40,), maxshape=(None,), dtype="f8", chunks=(2**28,))),
    "bomb_of_a_curve": lambda f: _bomb(f, CURVE, 2**25),
    "bomb_of_all": lambda f: [_bomb(f, name, 2**24) for name in (CURVE, "time")],
    "unknown_filter": lambda f: _replaced(
        f, CURVE, np.ones(len(f["time"])), chunks=True, compression="lzf", shuffle=True
    ),
    "many_groups": lambda f: [f.create_group(f"x/{n}") for n in range(3000)],
    "many_attributes": lambda f: [f.attrs.__setitem__(f"a{n}", n) for n in range(3000)],
    "long_attribute": lambda f: f.attrs.__setitem__("reason", "x\n" * 10**6),
    "nul_in_a_name": lambda f: f.create_dataset("observables/a\nb", data=np.ones(len(f["time"]))),
}  # fmt: skip

STATE = "checkpoint"
TABLE, ARRAYS = f"{STATE}/table", f"{STATE}/arrays"
OF_CHECKPOINTS: dict[str, Change] = {
    "no_table": lambda f: f.__delitem__(TABLE),
    "no_arrays": lambda f: f.__delitem__(ARRAYS),
    "table_of_text": lambda f: _replaced(f, TABLE, "{}"),
    "table_is_a_group": lambda f: (f.__delitem__(TABLE), f.create_group(TABLE)),
    "table_without_space": lambda f: _replaced(f, TABLE, h5py.Empty("u1")),
    "table_in_a_square": lambda f: _replaced(f, TABLE, np.ones((2, 2), np.uint8)),
    "table_cut": lambda f: _replaced(f, TABLE, f[TABLE][:-1]),
    "table_bomb": lambda f: _bomb(f, TABLE, 2**24),
    "arrays_cut": lambda f: _replaced(f, ARRAYS, f[ARRAYS][:-1]),
    "arrays_longer": lambda f: _replaced(f, ARRAYS, np.append(f[ARRAYS], np.uint8(1))),
    "arrays_of_numbers": lambda f: _replaced(f, ARRAYS, np.ones(f[ARRAYS].shape)),
    "arrays_elsewhere": lambda f: _link(f, ARRAYS, h5py.ExternalLink("other.hdf", "a")),
    "state_is_a_dataset": lambda f: (f.__delitem__(STATE), f.create_dataset(STATE, data=[1.0])),
    "state_is_root": lambda f: _link(f, STATE, f["/"]),
}  # fmt: skip

# Where every array is a dataset of its own, as in files of earlier versions.
OF_OLDER_CHECKPOINTS: dict[str, Change] = {
    "no_splits": lambda f: f[STATE].attrs.__delitem__("splits"),
    "splits_as_text": lambda f: f[STATE].attrs.__setitem__("splits", '"many"'),
    "splits_as_number": lambda f: f[STATE].attrs.__setitem__("splits", 7),
    "of_as_number": lambda f: f[STATE].attrs.__setitem__("of", "7"),
    "of_no_json": lambda f: f[STATE].attrs.__setitem__("of", '"{"'),
    "of_a_list": lambda f: f[STATE].attrs.__setitem__("of", '"[1]"'),
    "state_holds_itself": lambda f: _link(f, f"{STATE}/march", f[STATE]),
    "replicates_is_a_dataset": lambda f: _replaced(f, f"{STATE}/replicates", [1.0]),
    "count_negative": lambda f: f[f"{STATE}/replicates"].attrs.__setitem__("count", "-3"),
    "count_too_large": lambda f: f[f"{STATE}/replicates"].attrs.__setitem__("count", "1000000000"),
    "count_as_text": lambda f: f[f"{STATE}/replicates"].attrs.__setitem__("count", '"2"'),
    "curves_of_other_length": lambda f: _replaced(
        f, f"{STATE}/replicates/curves/{CURVE}", np.ones((1, 3))
    ),
    "curves_not_finite": lambda f: f[f"{STATE}/replicates/curves/{CURVE}"].__setitem__(
        ..., np.nan
    ),
    "no_curves": lambda f: f.__delitem__(f"{STATE}/replicates/curves"),
    "sums_of_other_shape": lambda f: _replaced(
        f, f"{STATE}/replicates/sums/overlap", np.ones((2, 2))
    ),
    "plan_is_a_dataset": lambda f: _replaced(f, f"{STATE}/plan", [1.0]),
    "plan_without_edges": lambda f: f.__delitem__(f"{STATE}/plan/edges"),
    "plan_with_more": lambda f: f[f"{STATE}/plan"].attrs.__setitem__("color", '"red"'),
    "edges_backwards": lambda f: f[f"{STATE}/plan/edges"].__setitem__(
        ..., f[f"{STATE}/plan/edges"][()][::-1]
    ),
    "edges_not_finite": lambda f: f[f"{STATE}/plan/edges"].__setitem__(-1, np.inf),
    "edges_empty": lambda f: _replaced(f, f"{STATE}/plan/edges", np.zeros(0)),
    "edges_in_a_square": lambda f: _replaced(f, f"{STATE}/plan/edges", np.ones((3, 3))),
    "rotation_not_square": lambda f: _replaced(f, f"{STATE}/plan/rotation", np.ones((3, 2))),
    "rotation_not_finite": lambda f: f[f"{STATE}/plan/rotation"].__setitem__(0, np.nan),
    "directions_of_other_shape": lambda f: _replaced(f, f"{STATE}/plan/directions", np.ones(2)),
    "reason_as_number": lambda f: f[f"{STATE}/plan"].attrs.__setitem__("reason", "7"),
    "march_is_a_dataset": lambda f: _replaced(f, f"{STATE}/march", [1.0]),
    "march_without_panels": lambda f: f.__delitem__(f"{STATE}/march/panels"),
    "march_without_work": lambda f: f.__delitem__(f"{STATE}/march/work"),
    "panels_misnumbered": lambda f: f[f"{STATE}/march/panels"].move("0", "zero"),
    "panel_without_past": lambda f: f.__delitem__(f"{STATE}/march/panels/0/past"),
    "panel_is_a_dataset": lambda f: _replaced(f, f"{STATE}/march/panels/0", [1.0]),
    "step_not_finite": lambda f: f[f"{STATE}/march/panels/0"].attrs.__setitem__("step", "NaN"),
    "step_negative": lambda f: f[f"{STATE}/march/panels/0"].attrs.__setitem__("step", "-1.0"),
    "step_as_text": lambda f: f[f"{STATE}/march/panels/0"].attrs.__setitem__("step", '"long"'),
    "past_too_wide": lambda f: _replaced(
        f, f"{STATE}/march/panels/1/past", np.full((3, 300), 0.1)
    ),
    "past_too_narrow": lambda f: _replaced(f, f"{STATE}/march/panels/1/past", np.ones((3, 1))),
    "diagonal_singular": lambda f: f[f"{STATE}/march/panels/0/diagonal"].__setitem__(
        ..., np.eye(3)
    ),
    "fresh_of_text": lambda f: _replaced(f, f"{STATE}/march/panels/0/fresh", ["a", "b"]),
    "known_not_finite": lambda f: f[f"{STATE}/march/panels/1/known"].__setitem__(..., np.nan),
    "scale_of_other_shape": lambda f: _replaced(f, f"{STATE}/march/panels/0/scale", np.ones(1)),
}  # fmt: skip

OF_COLLECTIONS: dict[str, Change] = {
    "no_dimensions": lambda f: f.attrs.__delitem__("dimensions"),
    "dimensions_of_numbers": lambda f: f.attrs.__setitem__("dimensions", "[1, 2]"),
    "dimensions_unknown": lambda f: f.attrs.__setitem__("dimensions", '["nowhere"]'),
    "dimension_is_root": lambda f: f.attrs.__setitem__("dimensions", '["/"]'),
    "dimensions_deep": lambda f: f.attrs.__setitem__("dimensions", "[" * 9000 + "]" * 9000),
    "tasks_as_number": lambda f: f.attrs.__setitem__("tasks", "1"),
    "no_status": lambda f: f.__delitem__("status"),
    "status_as_numbers": lambda f: _replaced(f, "status", np.zeros(f["status"].shape)),
    "created_as_numbers": lambda f: f.attrs.__setitem__("created", np.ones(3)),
    "config_as_number": lambda f: f.attrs.__setitem__("config", "1"),
    "axis_of_nothing": lambda f: f["noise_std"].attrs.__setitem__("axis_of", "nowhere"),
    "axis_of_numbers": lambda f: f["noise_std"].attrs.__setitem__("axis_of", np.ones(2)),
    "axis_in_bytes": lambda f: _replaced(f, "noise_std", np.array([b"\xff\xfe"] * 2)),
    "axis_bomb": lambda f: _bomb(f, "noise_std", 2**24),
    "axis_of_itself": lambda f: _link(f, "noise_std", h5py.SoftLink("/noise_std")),
    "axis_of_references": lambda f: _references(f, "noise_std", h5py.Reference),
    "huge_axis": lambda f: (f.__delitem__("noise_std"), f.create_dataset(
        "noise_std", shape=(2**40,), dtype="f8", chunks=(2**20,))),
    "text_not_utf8": lambda f: f["status"].__setitem__(0, b"\xff\xfe"),
}  # fmt: skip
