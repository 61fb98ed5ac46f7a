"""The checkpoints of a folder or a list: found, put in order of their steps, checked for
consistency before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.readers.formats import ENDINGS, INDEX, file_tensors, shards
from dmft.trajectory.readers.tensor import FLOATS, Tensor

_NUMBER = re.compile(r"\d+")
# What training programs save beside the weights.
_NO_WEIGHTS = re.compile(r"^(optimizer|scheduler|scaler|training_args|rng_state)")
# Sums over the data kept by batch normalisation, which are no parameters.
STATISTICS = ("*running_mean", "*running_var", "*num_batches_tracked")
_SAMPLE = 65536


@dataclass(frozen=True)
class Checkpoint:
    """One point of the trajectory: step, name for messages, files, and its row in a stack."""

    step: float
    name: str
    files: tuple[Path, ...]
    row: int = 0

    @cached_property
    def identity(self) -> str:
        """Equal for files of equal size, time of change and samples of their bytes."""
        return ";".join([*map(_identity, self.files), str(self.row)])

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name.

        Raises
        ------
        InputError : a damaged file, or a name in two of the files.
        """
        found: dict[str, Tensor] = {}
        for file in self.files:
            for tensor in file_tensors(file):
                if tensor.name in found:
                    raise InputError(f"holds tensor '{tensor.name}' twice", self.name)
                found[tensor.name] = tensor
        return found


@dataclass(frozen=True)
class Series:
    """Checkpoints in order, and their tensors: rows[t][name], the same names in each.

    skipped : names of what is no floating-point array, or no parameter.
    tied : names that share memory with an earlier one and are not counted again.
    """

    checkpoints: tuple[Checkpoint, ...]
    rows: tuple[dict[str, Tensor], ...]
    skipped: tuple[str, ...]
    tied: tuple[str, ...]

    @property
    def step(self) -> np.ndarray:
        """Training step of each checkpoint, shape (T,)."""
        return np.array([checkpoint.step for checkpoint in self.checkpoints])


def open_series(paths: Path | Sequence[Path]) -> Series:
    """Find and check the checkpoints of a folder, of one array file, or of a list of files.

    A folder holds files, or folders with one checkpoint each (sharded or not), whose names differ
    in numbers only; the number that differs is the step. A list is taken in the given order. A
    single .npy or .npz file holds arrays whose first axis counts the checkpoints.

    Raises
    ------
    InputError : nothing found, fewer than two checkpoints, a step twice, tensors that are missing,
        superfluous or of another shape, a damaged file.
    """
    if isinstance(paths, Path) and paths.is_file():
        return _stacked(paths)
    if isinstance(paths, Path):
        checkpoints = _in_folder(paths)
    else:
        checkpoints = [Checkpoint(i, str(path), _files(path)) for i, path in enumerate(paths)]
        steps = _steps([path.name for path in paths])
        if steps is not None and all(np.diff(steps) > 0):
            checkpoints = [
                Checkpoint(step, c.name, c.files)
                for step, c in zip(steps, checkpoints, strict=True)
            ]
    if len(checkpoints) < 2:
        where = (
            str(paths) if isinstance(paths, Path) else checkpoints[0].name if checkpoints else ""
        )
        raise InputError(f"holds {len(checkpoints)} checkpoint(s), must be at least 2", where)
    return _checked(checkpoints, [checkpoint.tensors() for checkpoint in checkpoints])


def _checked(checkpoints: list[Checkpoint], rows: list[dict[str, Tensor]]) -> Series:
    first = rows[0]
    for checkpoint, row in zip(checkpoints, rows, strict=True):
        for name in first:
            if name not in row:
                raise InputError(f"tensor '{name}' is missing", checkpoint.name)
            if row[name].shape != first[name].shape:
                raise InputError(
                    f"tensor '{name}' has shape {row[name].shape}, must be {first[name].shape} "
                    f"as in {checkpoints[0].name}",
                    checkpoint.name,
                )
        for name in row:
            if name not in first:
                raise InputError(
                    f"tensor '{name}' is not in {checkpoints[0].name}", checkpoint.name
                )
    skipped = tuple(
        name for name, tensor in first.items()
        if tensor.dtype.startswith(("int", "uint", "bool")) or _matches(name, STATISTICS)
    )  # fmt: skip
    for checkpoint, row in zip(checkpoints, rows, strict=True):
        for name, tensor in row.items():
            if name not in skipped and tensor.dtype not in FLOATS:
                raise InputError(
                    f"tensor '{name}' is of type {tensor.dtype}, allowed: {', '.join(FLOATS)}",
                    checkpoint.name,
                )
    tied = _tied(rows, skipped)
    kept = [n for n, tensor in first.items() if n not in skipped and n not in tied and tensor.size]
    if not kept:
        raise InputError("holds no floating-point arrays", checkpoints[0].name)
    kept_rows = tuple({name: row[name] for name in kept} for row in rows)
    return Series(tuple(checkpoints), kept_rows, skipped, tied)


def _tied(rows: list[dict[str, Tensor]], skipped: tuple[str, ...]) -> tuple[str, ...]:
    """Names that are the same memory as an earlier name in every checkpoint."""
    seen: set[tuple[object, ...]] = set()
    tied = []
    for name in rows[0]:
        memory = tuple((row[name].path, row[name].identity) for row in rows)
        if name in skipped or any(identity is None for _, identity in memory):
            continue
        if memory in seen:
            tied.append(name)
        seen.add(memory)
    return tuple(tied)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _in_folder(folder: Path) -> list[Checkpoint]:
    if not folder.exists():
        raise InputError("no such folder", str(folder))
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(entry.name.endswith(INDEX) for entry in entries):
        raise InputError("holds one sharded checkpoint, give the folder above it", str(folder))
    files = [entry for entry in entries if _is_checkpoint(entry)]
    folders = [entry for entry in entries if entry.is_dir() and _holds_checkpoint(entry)]
    if files and folders:
        raise InputError(
            f"holds checkpoints as files ({files[0].name}) and as folders ({folders[0].name}), "
            "must be one kind",
            str(folder),
        )
    found = files or folders
    if not found:
        raise InputError(f"holds no checkpoints, must hold files {', '.join(ENDINGS)}", str(folder))
    if len(found) == 1:
        raise InputError("holds 1 checkpoint(s), must be at least 2", str(folder))
    steps = _steps([entry.name for entry in found])
    if steps is None:
        templates = sorted({_NUMBER.sub("#", entry.name): entry.name for entry in found}.values())
        raise InputError(
            f"holds names that differ in more than a number ({templates[0]}, {templates[1]}), "
            "give the files in their order instead",
            str(folder),
        )
    order = np.argsort(steps, kind="stable")
    for a, b in pairwise(order):
        if steps[a] == steps[b]:
            raise InputError(
                f"holds step {steps[a]} twice: {found[a].name}, {found[b].name}", str(folder)
            )
    return [Checkpoint(steps[i], str(found[i]), _files(found[i])) for i in order]


def _steps(names: Sequence[str]) -> list[int] | None:
    """The number in which the names differ; None if they differ in anything else.

    Of several, the one after the word "step", else the last one.
    """
    if len({_NUMBER.sub("#", name) for name in names}) != 1:
        return None
    numbers = np.array([[int(number) for number in _NUMBER.findall(name)] for name in names])
    if numbers.shape[1] == 0:
        return None
    varying = [i for i in range(numbers.shape[1]) if len(set(numbers[:, i])) > 1]
    if not varying:  # "1.npz" and "01.npz"
        varying = [0]
    words = _NUMBER.split(names[0])
    named = [i for i in varying if re.search(r"(step|iter(ation)?)\W*_*$", words[i], re.IGNORECASE)]
    return [int(step) for step in numbers[:, (named or varying)[-1]]]


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() and path.suffix in ENDINGS and not _NO_WEIGHTS.match(path.name)


def _holds_checkpoint(folder: Path) -> bool:
    return any(_is_checkpoint(entry) for entry in folder.iterdir())


def _files(path: Path) -> tuple[Path, ...]:
    """The files of one checkpoint: itself, its shards, or what its folder holds."""
    if not path.exists():
        raise InputError("no such file", str(path))
    if path.name.endswith(INDEX):
        return tuple(shards(path))
    if path.is_file():
        return (path,)
    for index in sorted(path.glob(f"*{INDEX}"), key=lambda entry: "safetensors" not in entry.name):
        return tuple(shards(index))
    # The same weights may lie there in two formats; the first ending in the list is read.
    for ending in ENDINGS:
        found = [e for e in sorted(path.glob(f"*{ending}")) if _is_checkpoint(e)]
        if len(found) > 1:
            raise InputError(
                f"holds {found[0].name} and {found[1].name} without an index, "
                "must hold one checkpoint",
                str(path),
            )
        if found:
            return (found[0],)
    raise InputError("holds no checkpoint", str(path))


def _identity(file: Path) -> str:
    status = file.stat()
    digest = blake2b(digest_size=12)
    with file.open("rb") as stream:
        for place in (0, status.st_size // 2, max(status.st_size - _SAMPLE, 0)):
            stream.seek(place)
            digest.update(stream.read(_SAMPLE))
    return f"{status.st_size}:{status.st_mtime_ns}:{digest.hexdigest()}"


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
    rows = [
        {x.name: Tensor(path, x.name, x.shape[1:], x.dtype, _row_offset(x, t)) for x in stacked}
        for t in range(counts.pop())
    ]
    checkpoints = [Checkpoint(t, f"{path}[{t}]", (path,), t) for t in range(len(rows))]
    names = {tensor.name for tensor in stacked}
    skipped = tuple(tensor.name for tensor in found if tensor.name not in names)
    return Series(tuple(checkpoints), tuple(rows), skipped, ())


def _row_offset(tensor: Tensor, row: int) -> int:
    assert tensor.offset is not None
    return tensor.offset + row * tensor.itemsize * (tensor.size // tensor.shape[0])
