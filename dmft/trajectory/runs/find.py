"""The checkpoints of a folder or a list: which files they are, and the step of each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from dmft.errors import InputError
from dmft.trajectory.readers.formats import ENDINGS, INDEX
from dmft.trajectory.runs.contents import (
    Checkpoint,
    checkpoint_at,
    is_beside,
    is_shard,
    is_weights,
    kind_of,
)
from dmft.trajectory.runs.names import stem
from dmft.trajectory.runs.patterns import ORDER, steps_by_pattern
from dmft.trajectory.runs.steps import Reading, read_steps

_DEPTH = 4  # of folders that are looked into for checkpoints
_PARALLEL = re.compile(r"(?:mp|tp|pp)_rank_\d+")  # of one model, not of several


@dataclass(frozen=True)
class Found:
    """Checkpoints in the order of their steps.

    kind : what they look like, for people; said : how the steps were read.
    left_out : entries of the folder that are no part of it, and why.
    """

    checkpoints: list[Checkpoint]
    kind: str
    said: str
    left_out: dict[str, str] = field(default_factory=dict)


def find_in_folder(folder: Path, steps: str | None, key: str | None) -> Found:
    """The checkpoints of a folder.

    Raises
    ------
    InputError : none or one, several series, steps that are in doubt or occur twice.
    """
    if not folder.exists():
        raise InputError("no such folder", str(folder))
    if not folder.is_dir():
        raise InputError("is no folder and no checkpoint of a known format", str(folder))
    folder = _descended(folder)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(entry.name.endswith(INDEX) for entry in entries) and not _numbered(entries):
        raise InputError("holds one sharded checkpoint, give the folder above it", str(folder))
    left_out = {e.name: "no weights" for e in entries if e.is_file() and is_beside(e)}
    files = _without_twins([entry for entry in entries if is_weights(entry)], left_out)
    folders = [entry for entry in entries if entry.is_dir() and kind_of(entry) is not None]
    found = _one_kind(files, folders, left_out, folder)
    if not found:
        raise InputError(f"holds no checkpoints, must hold files {', '.join(ENDINGS)}", str(folder))
    if len(found) == 1:
        raise InputError("holds 1 checkpoint(s), must be at least 2", str(folder))
    reading = _reading([entry.name for entry in found], steps, str(folder))
    if reading is None:
        raise InputError(
            f"holds names that differ in more than a number ({found[0].name}, {found[1].name}), "
            "give the files in their order instead",
            str(folder),
        )
    left_out |= reading.left_out
    pairs = [(s, e) for s, e in zip(reading.steps, found, strict=True) if s is not None]
    _check_once([(step, entry.name) for step, entry in pairs], str(folder))
    pairs.sort(key=lambda pair: pair[0])
    checkpoints = [checkpoint_at(entry, step, key) for step, entry in pairs]
    return Found(checkpoints, _kind(checkpoints, folder), reading.said, left_out)


def find_in_list(paths: Sequence[Path], steps: str | None, key: str | None) -> Found:
    """Checkpoints given one by one: in the order of the steps in their names, if there are any.

    Raises
    ------
    InputError : steps in doubt or twice; a file that is missing or given twice.
    """
    if len(paths) < 2:
        where = str(paths[0]) if paths else ""
        raise InputError(f"holds {len(paths)} checkpoint(s), must be at least 2", where)
    for path in paths:
        if not path.exists():
            raise InputError("no such file", str(path))
    if steps == ORDER:
        return Found([checkpoint_at(p, i, key) for i, p in enumerate(paths)], "files", "as given")
    names = _relative(paths)
    counts = Counter(names)
    twice = [path for path, name in zip(paths, names, strict=True) if counts[name] > 1]
    if twice:
        raise InputError("given twice; --steps order takes the list as it is", str(twice[0]))
    reading = _reading(names, steps, "the list")
    if reading is None:
        listed = [checkpoint_at(path, i, key) for i, path in enumerate(paths)]
        return Found(listed, "files", "the order given, no steps in the names")
    _check_once(list(zip(reading.steps, names, strict=True)), "the list")
    pairs = [(s, p) for s, p in zip(reading.steps, paths, strict=True) if s is not None]
    pairs.sort(key=lambda pair: pair[0])
    checkpoints = [checkpoint_at(path, step, key) for step, path in pairs]
    return Found(checkpoints, "files", reading.said, reading.left_out)


def _reading(names: Sequence[str], steps: str | None, where: str) -> Reading | None:
    if steps == ORDER:
        raise InputError("given 'order' for a folder, give the files in their order", "steps")
    return read_steps(names, where) if steps is None else steps_by_pattern(names, steps, where)


def _check_once(pairs: Iterable[tuple[float | None, str]], where: str) -> None:
    known = sorted((step, name) for step, name in pairs if step is not None)
    for (a, first), (b, second) in pairwise(known):
        if a == b:
            raise InputError(
                f"holds step {a} twice: {first}, {second}; --steps PATTERN decides", where
            )


def _relative(paths: Sequence[Path]) -> list[str]:
    """Names with as many folders as tell them apart."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    common = os.path.commonpath([path.absolute() for path in paths])
    return [str(path.absolute().relative_to(common)) for path in paths]


def _descended(folder: Path) -> Path:
    """The folder within that holds the checkpoints, where this one only holds folders."""
    if _series_of(folder):
        return folder
    inside: list[Path] = []
    for place, folders, _ in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        path = Path(place)
        if path != folder and kind_of(path) is None and _series_of(path):
            inside.append(path)
        folders[:] = [f for f in folders if depth < _DEPTH and not f.startswith(".")]
        if path != folder and kind_of(path) is not None and not _series_of(path):
            folders[:] = []
        elif path != folder and _series_of(path):
            inside += [] if path in inside else [path]
            folders[:] = []
    if len(inside) > 1:
        raise InputError(_several(inside, folder), str(folder))
    return inside[0] if inside else folder


def _several(inside: list[Path], folder: Path) -> str:
    """Why none of the folders with checkpoints was taken, and what to give."""
    parts = [{e.name for e in path.iterdir() if e.is_dir() and kind_of(e)} for path in inside]
    common = sorted(set.intersection(*parts))
    if len(common) > 1 and all(map(_PARALLEL.match, common)):
        return f"holds models in parallel shards ({', '.join(common[:3])}), merge them first"
    if common and all(part == parts[0] for part in parts):  # several models in each checkpoint
        return (
            f"holds checkpoints of several models ({', '.join(common[:3])}), give those of one, "
            f"as in {folder}/*/{common[0]}"
        )
    names = ", ".join(str(path.relative_to(folder)) for path in inside[:3])
    return f"holds several series ({names}), give one of them"


def _series_of(folder: Path) -> bool:
    """Whether at least two checkpoints lie right here."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    count = sum(is_weights(e) or (e.is_dir() and kind_of(e) is not None) for e in entries)
    return count > 1


def _numbered(entries: list[Path]) -> bool:
    return sum(entry.is_dir() and kind_of(entry) is not None for entry in entries) > 1


def _without_twins(files: list[Path], left_out: dict[str, str]) -> list[Path]:
    """Of the same checkpoint in several formats the first of the list of endings."""
    chosen: dict[str, Path] = {}
    for file in sorted(files, key=lambda f: next(i for i, e in enumerate(ENDINGS)
                                                 if f.name.endswith(e))):  # fmt: skip
        if stem(file.name) in chosen and chosen[stem(file.name)].suffix != file.suffix:
            left_out[file.name] = f"also as {chosen[stem(file.name)].suffix}"
        else:
            chosen[stem(file.name)] = file
    return sorted(set(files) - {f for f in files if f.name in left_out})


def _one_kind(
    files: list[Path], folders: list[Path], left_out: dict[str, str], folder: Path
) -> list[Path]:  # fmt: skip
    """Files or folders: whichever are numbered."""
    if not files or not folders:
        return files or folders
    series = [group for group in (files, folders) if any(map(_has_number, group))]
    if len(series) != 1:
        raise InputError(
            f"holds checkpoints as files ({files[0].name}) and as folders ({folders[0].name}), "
            "must be one kind",
            str(folder),
        )
    others = folders if series[0] is files else files
    left_out |= dict.fromkeys((entry.name for entry in others), "beside the numbered ones")
    return series[0]


def _has_number(path: Path) -> bool:
    return any(letter.isdigit() for letter in stem(path.name)) and not is_shard(path)


def _kind(checkpoints: list[Checkpoint], folder: Path) -> str:
    kinds = sorted({checkpoint.kind for checkpoint in checkpoints})
    what = {
        "file": "files", "sharded": "sharded checkpoints", "adapter": "PEFT adapters (B A)",
        "distributed": "torch.distributed checkpoints", "DeepSpeed": "DeepSpeed checkpoints",
    }  # fmt: skip
    words = ", ".join(what[kind] for kind in kinds)
    first = Path(checkpoints[0].name)
    if first.is_dir() and (first / "trainer_state.json").is_file():
        words = f"Trainer output, {words}"
    elif first.suffix == ".ckpt":
        words = f"Lightning or plain {words}"
    return words if folder.name == "" else f"{words} in {folder}"
