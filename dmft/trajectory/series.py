"""The checkpoints of a folder or a list, checked for consistency before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.readers.formats import file_tensors
from dmft.trajectory.readers.moved import Moved
from dmft.trajectory.readers.tensor import FLOATS, Tensor
from dmft.trajectory.runs.contents import Checkpoint
from dmft.trajectory.runs.find import find_in_folder, find_in_list
from dmft.trajectory.runs.parameters import aligned, check_type, matches, no_parameters


@dataclass(frozen=True)
class Series:
    """Checkpoints in order, and their tensors: rows[t][name], the same names in each.

    skipped : names of what is no parameter, and why.
    tied : names that share memory with another one and are not counted again.
    kind, said : what the run looks like, and how its steps were read, for people.
    left_out : files, and entries of files, that are no part of it, and why.
    shapes : of all parameters of the first checkpoint, chosen or not.
    """

    checkpoints: tuple[Checkpoint, ...]
    rows: tuple[Mapping[str, Tensor], ...]
    skipped: dict[str, str]
    tied: tuple[str, ...]
    kind: str = ""
    said: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def step(self) -> np.ndarray:
        """Training step of each checkpoint, shape (T,)."""
        steps = np.array([checkpoint.step for checkpoint in self.checkpoints])
        return steps if steps.dtype != object else steps.astype(float)  # beyond 64 bits

    @property
    def notes(self) -> dict[str, Any]:
        """What was taken for what: kind of the run, reading of the steps, files left out."""
        return {"run": self.kind, "steps_from": self.said, "left_out": self.left_out}


def open_series(
    paths: Path | Sequence[Path],
    *,
    steps: str | None = None,
    key: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Series:
    """Find and check the checkpoints of a folder, of one array file, or of a list of files.

    A folder holds files, or folders with one checkpoint each; the steps are in their names, see
    `runs.steps`. A list is put in the order of its steps, if the names have any. A single .npy or
    .npz file holds arrays whose first axis counts the checkpoints.

    Parameters
    ----------
    steps : pattern of the names, see `runs.patterns`; "order" takes a list as it is given.
    key : entry of the files that is the model; found by default.
    include, exclude : shell patterns of tensor names.

    Raises
    ------
    InputError : nothing found, fewer than two checkpoints, a step twice or in doubt, tensors that
        are missing, superfluous or of another shape, a damaged file.
    """
    if isinstance(paths, Path) and paths.is_file():
        return _filtered(_stacked(paths), include, exclude)
    finder = find_in_folder(paths, steps, key) if isinstance(paths, Path) else None
    found = finder or find_in_list(list(paths) if not isinstance(paths, Path) else [], steps, key)
    first, *others = found.checkpoints
    start = first.tensors()
    layout = first.layout(start)
    rows = [start, *(checkpoint.tensors_like(layout) for checkpoint in others)]
    series = _checked(found.checkpoints, rows, include, exclude)
    left_out = dict(found.left_out)
    for checkpoint in found.checkpoints:
        left_out |= checkpoint.left_out
    return Series(
        series.checkpoints, series.rows, series.skipped, series.tied, found.kind, found.said,
        left_out, series.shapes,
    )  # fmt: skip


def _chosen(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    return (not include or matches(name, include)) and not matches(name, exclude)


def _filtered(series: Series, include: Sequence[str], exclude: Sequence[str]) -> Series:
    names = list(series.rows[0])
    kept = [name for name in names if _chosen(name, include, exclude)]
    if not kept:
        raise _no_match(names)
    rows = tuple({name: row[name] for name in kept} for row in series.rows)
    return Series(series.checkpoints, rows, series.skipped, (), series.kind, shapes=series.shapes)


def _no_match(names: Sequence[str]) -> InputError:
    some = ", ".join(sorted(names)[:4])
    return InputError(f"given patterns that no tensor matches, there are {some}, ...", "include")


def _checked(
    checkpoints: list[Checkpoint],
    rows: Sequence[Mapping[str, Tensor]],
    include: Sequence[str],
    exclude: Sequence[str],
) -> Series:
    """The chosen parameters of all checkpoints, which must agree in names and shapes."""
    reasons: dict[str, str] = {}
    every: list[str] = []
    wanted: list[str] = []
    kept_rows: list[Mapping[str, Tensor]] = []
    for t, (checkpoint, row) in enumerate(zip(checkpoints, rows, strict=True)):
        if t and _alike(row, rows[0]):  # as is usual: what holds for the first holds here
            kept_rows.append(_only(row, wanted, kept_rows[0]))
            continue
        none = no_parameters(row)
        names = [n for n in row if n not in none]
        if t:
            row = aligned(row, names, every)
            none = no_parameters(row)
            names = [n for n in row if n not in none]
        else:
            every = names
            wanted = [name for name in names if _chosen(name, include, exclude)]
        reasons = none | reasons
        chosen = {name: row[name] for name in names if _chosen(name, include, exclude)}
        for name, tensor in chosen.items():
            check_type(name, tensor, row, checkpoint.name)
        if not t and not wanted:
            if names:
                raise _no_match(names)
            raise InputError(f"holds no floating-point arrays{_of(none)}", checkpoint.name)
        _check_same(chosen, kept_rows[0] if t else chosen, checkpoint, checkpoints[0])
        kept_rows.append(chosen)
    tied = _tied(kept_rows)
    names = [name for name in wanted if name not in tied]
    start = {name: kept_rows[0][name] for name in names}
    ordered = (start, *(_only(row, names, start) for row in kept_rows[1:]))
    shapes = {name: rows[0][name].shape for name in every if name not in tied}
    return Series(tuple(checkpoints), ordered, reasons, tied, shapes=shapes)


def _alike(row: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> bool:
    """Whether names, shapes and types are the same."""
    if isinstance(row, Moved) and row.first is first:
        return True
    return row.keys() == first.keys() and all(
        tensor.shape == first[name].shape and tensor.dtype == first[name].dtype
        for name, tensor in row.items()
    )


def _only(
    row: Mapping[str, Tensor], names: Sequence[str], first: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Some tensors of a row, which are those of the first."""
    if isinstance(row, Moved):
        return Moved(first, row.paths)
    return {name: row[name] for name in names}


def _of(reasons: dict[str, str]) -> str:
    found = sorted(set(reasons.values()))
    return f" of a model ({', '.join(found)} only; --key chooses)" if found else ""


def _check_same(
    row: Mapping[str, Tensor],
    first: Mapping[str, Tensor],
    checkpoint: Checkpoint,
    start: Checkpoint,
) -> None:
    for name in first:
        if name not in row:
            raise InputError(
                f"tensor '{name}' is missing; --exclude leaves it out everywhere", checkpoint.name
            )
        if row[name].shape != first[name].shape:
            raise InputError(
                f"tensor '{name}' has shape {row[name].shape}, must be {first[name].shape} "
                f"as in {start.name}",
                checkpoint.name,
            )
    for name in row:
        if name not in first:
            raise InputError(
                f"tensor '{name}' is not in {start.name}; --exclude leaves it out", checkpoint.name
            )


def _tied(rows: Sequence[Mapping[str, Tensor]]) -> tuple[str, ...]:
    """Names that are the memory of another name, or within it, in every checkpoint."""
    tied: list[str] = []
    seen: dict[tuple[object, ...], str] = {}
    order = sorted(rows[0], key=lambda name: -rows[0][name].size)
    for name in order:
        if any(row[name].identity is None for row in rows):
            continue
        memory = tuple((row[name].path, row[name].identity) for row in rows)
        if memory in seen or any(_within(rows, name, other) for other in seen.values()):
            tied.append(name)
        else:
            seen[memory] = name
    return tuple(name for name in rows[0] if name in tied)


def _within(rows: Sequence[Mapping[str, Tensor]], name: str, other: str) -> bool:
    """Whether a run of bytes lies in the run of another tensor of the same file, everywhere."""
    for row in rows:
        inner, outer = row[name], row[other]
        if inner.path != outer.path or inner.offset is None or outer.offset is None:
            return False
        start, stop = outer.offset, outer.offset + outer.size * outer.itemsize
        if not start <= inner.offset < inner.offset + inner.size * inner.itemsize <= stop:
            return False
    return True


def _stacked(path: Path) -> Series:
    """A file whose arrays have the checkpoints along their first axis."""
    if path.suffix not in (".npy", ".npz"):
        raise InputError(
            "is one file, must be a folder, or .npy or .npz with stacked arrays", str(path)
        )
    found = file_tensors(path)
    stacked = [t for t in found if len(t.shape) >= 2 and t.dtype in FLOATS]
    if not stacked:
        raise InputError("holds no stacked arrays (checkpoint, ...) of floats", str(path))
    counts = {tensor.shape[0] for tensor in stacked}
    if len(counts) > 1 or min(counts) < 2:
        raise InputError(
            f"holds arrays of first axes {sorted(counts)}, must be one number of at least 2",
            str(path),
        )
    if any(tensor.whole is not None for tensor in stacked):
        raise InputError("is compressed or in Fortran order, must be plain C order", str(path))
    rows = [{x.name: _row(path, x, t) for x in stacked} for t in range(counts.pop())]
    checkpoints = [Checkpoint(t, f"{path}[{t}]", (path,), t) for t in range(len(rows))]
    names = {tensor.name for tensor in stacked}
    shapes = {tensor.name: tensor.shape[1:] for tensor in stacked}
    skipped = {tensor.name: "not stacked floats" for tensor in found if tensor.name not in names}
    return Series(
        tuple(checkpoints), tuple(rows), skipped, (), kind="stacked arrays", shapes=shapes
    )


def _row(path: Path, tensor: Tensor, row: int) -> Tensor:
    """One checkpoint of a stacked array; the first brings the check of the whole."""
    assert tensor.offset is not None
    offset = tensor.offset + row * tensor.itemsize * (tensor.size // tensor.shape[0])
    check = tensor.check if row == 0 else None
    return Tensor(path, tensor.name, tensor.shape[1:], tensor.dtype, offset, check=check)
