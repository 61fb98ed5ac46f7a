"""What one checkpoint is made of: a file, shards, an adapter, a distributed checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from dmft.errors import InputError
from dmft.trajectory.readers import adapters, distributed
from dmft.trajectory.readers.formats import ENDINGS, INDEX, read_file, shards
from dmft.trajectory.readers.moved import Layout
from dmft.trajectory.readers.tensor import Tensor
from dmft.trajectory.runs.parameters import unwrapped
from dmft.trajectory.runs.words import AVERAGED, words_of

FILE, SHARDS, ADAPTER, DISTRIBUTED, ZERO = (
    "file", "sharded", "adapter", "distributed", "DeepSpeed",
)  # fmt: skip
# What training programs save beside the weights.
_NO_WEIGHTS = re.compile(
    r"^(optim|scheduler|scaler|sampler|training_args|rng_state|random_states|lr_scheduler|"
    r"adapter_config|dl_state_dict|custom_checkpoint|.*optim_states|training_args|tokenizer)"
)
_SHARD = re.compile(r"^(?P<head>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.\w+)$")
_ZERO_STATES = "mp_rank_00_model_states.pt"
_PIPELINE = re.compile(r"^(layer_\d+)-model_(\d+)-model_states\.pt$")
_ZERO3 = "zero_pp_rank_*_mp_rank_*_model_states.pt"
# Formats whose own library has to convert: what tells them, and how.
_CONVERT = {
    "manifest.ocdbt": "orbax: StandardCheckpointer().restore(...), then numpy.savez",
    "_METADATA": "orbax: StandardCheckpointer().restore(...), then numpy.savez",
    "flax_model.msgpack": "transformers: Model.from_pretrained(..., from_flax=True)",
    "tf_model.h5": "transformers: Model.from_pretrained(..., from_tf=True)",
    "saved_model.pb": "tensorflow: tf.saved_model.load(...), then numpy.savez",
}
_SAMPLE = 8192  # bytes, at three places of each file


@dataclass(frozen=True)
class Checkpoint:
    """One point of the trajectory: step, name for messages, files, and its row in a stack.

    kind : how the files are read; key : entry of the files that is the model, None finds it.
    """

    step: float
    name: str
    files: tuple[Path, ...]
    row: int = 0
    kind: str = FILE
    key: str | None = None
    left_out: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def identity(self) -> str:
        """Equal for files of equal size, time of change and samples of their bytes."""
        key = [] if self.key is None else [self.key]
        return ";".join([*map(_identity, self.files), str(self.row), *key])

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, without wrappers' prefixes; notes what is left out.

        Raises
        ------
        InputError : a damaged file, or a name in two of the files.
        """
        found: list[Tensor] = []
        for tensors, left_out in map(self._read, self._parts()):
            found += tensors
            self.left_out.update(left_out)
        return unwrapped(found)

    def layout(self, row: Mapping[str, Tensor]) -> Layout:
        """How the files of this checkpoint lie, whose tensors these are."""
        return Layout(self._plain(), row)

    def tensors_like(self, layout: Layout) -> Mapping[str, Tensor]:
        """As `tensors`, at little cost where the files lie as those of another checkpoint."""
        return layout.moved(self._plain()) or self.tensors()

    def _plain(self) -> tuple[Path, ...]:
        return self.files if self.kind in (FILE, SHARDS) else ()

    def _parts(self) -> tuple[Path, ...]:
        return (self.files[0].parent,) if self.kind in (ADAPTER, DISTRIBUTED) else self.files

    def _read(self, path: Path) -> tuple[list[Tensor], dict[str, str]]:
        if self.kind == DISTRIBUTED:
            return distributed.read(path, self.key)
        if self.kind == ADAPTER:
            return adapters.read(path)
        tensors, left_out = read_file(path, self.key)
        layer = _PIPELINE.match(path.name) if self.kind == ZERO else None
        if layer:  # a stage of a pipeline, whose names begin anew in every file
            tensors = [replace(tensor, name=f"{layer[1]}.{tensor.name}") for tensor in tensors]
        return tensors, left_out


def is_weights(path: Path) -> bool:
    """Whether a file holds tensors, by its name."""
    return path.name.endswith(ENDINGS) and path.is_file() and not is_beside(path)


def is_beside(path: Path) -> bool:
    """Whether a file is one that training programs save beside the weights."""
    return bool(_NO_WEIGHTS.match(path.name))


def is_shard(path: Path) -> bool:
    """Whether a file is a part of a checkpoint, as model-00001-of-00002.safetensors."""
    return bool(_SHARD.match(path.name))


def kind_of(folder: Path) -> str | None:
    """What checkpoint a folder is; None if it is none. Looks at names only."""
    if (folder / distributed.METADATA).is_file():
        return DISTRIBUTED
    if (folder / adapters.CONFIG).is_file():
        return ADAPTER
    if (folder / _ZERO_STATES).is_file() or any(folder.glob(_ZERO3)):
        return ZERO
    if any(folder.glob(f"*{INDEX}")):
        return SHARDS
    files = [entry for entry in folder.iterdir() if is_weights(entry)]
    if files and all(_SHARD.match(entry.name) for entry in files):
        return SHARDS
    if files:
        return FILE
    if _inner(folder) is not None:
        return kind_of(_inner(folder) or folder)
    return FILE if any((folder / name).exists() for name in _CONVERT) else None


def checkpoint_at(path: Path, step: float, key: str | None = None) -> Checkpoint:
    """The checkpoint in a file or a folder.

    Raises
    ------
    InputError : nothing there that can be read, and what converts it.
    """
    if not path.exists():
        raise InputError("no such file", str(path))
    if path.is_file():
        files = tuple(shards(path)) if path.name.endswith(INDEX) else (path,)
        return Checkpoint(step, str(path), files, key=key)
    kind, place = kind_of(path), path
    if _direct(path) is None and _inner(path) is not None:
        place = _inner(path) or path
    files = _files(place, kind)
    others = [entry for entry in path.iterdir() if entry.is_dir() and entry != place]
    left_out = {entry.name: "averaged copies" for entry in others if _averaged(entry)}
    return Checkpoint(step, str(path), files, kind=kind or FILE, key=key, left_out=left_out)


def _direct(folder: Path) -> bool | None:
    """True where the folder itself holds the checkpoint, not one within it."""
    here = (folder / distributed.METADATA).is_file() or any(map(is_weights, folder.iterdir()))
    return True if here or any(folder.glob(_ZERO3)) else None


def _inner(folder: Path) -> Path | None:
    """The one folder within that holds the model: of sharded modules, or of DeepSpeed's engine."""
    if _direct(folder):
        return None
    found = [
        entry for entry in sorted(folder.iterdir())
        if entry.is_dir() and not entry.name.startswith((".", "optim")) and _single(entry)
    ]  # fmt: skip
    if len(found) > 1:
        found = [entry for entry in found if not _averaged(entry)]
    return found[0] if len(found) == 1 else None


def _averaged(folder: Path) -> bool:
    return bool(AVERAGED & set(words_of(folder.name)))


def _single(folder: Path) -> bool:
    """Whether the folder itself holds one checkpoint, not a series of them."""
    weights = [entry for entry in folder.iterdir() if is_weights(entry) and not is_shard(entry)]
    states = [entry for entry in weights if entry.name.endswith("model_states.pt")]
    return bool(_direct(folder)) and (len(weights) <= 1 or len(states) == len(weights))


def _files(folder: Path, kind: str | None) -> tuple[Path, ...]:
    if kind == DISTRIBUTED:
        return distributed.files_of(folder)
    if kind == ADAPTER:
        return (adapters.weights_of(folder), folder / adapters.CONFIG)
    if kind == ZERO:
        return _of_deepspeed(folder)
    indices = sorted(folder.glob(f"*{INDEX}"), key=lambda entry: "safetensors" not in entry.name)
    if indices:
        return tuple(shards(indices[0]))
    # The same weights may lie there in two formats; the first ending in the list is read.
    for ending in ENDINGS:
        found = [e for e in sorted(folder.glob(f"*{ending}")) if is_weights(e)]
        if found and all(_SHARD.match(entry.name) for entry in found):
            return _complete(found, folder)
        if len(found) > 1:
            raise InputError(
                f"holds {found[0].name} and {found[1].name} without an index, "
                "must hold one checkpoint",
                str(folder),
            )
        if found:
            return (found[0],)
    for name, how in _CONVERT.items():
        if (folder / name).exists():
            raise InputError(f"holds {name}, which its own library has to convert ({how})",
                             str(folder))  # fmt: skip
    raise InputError("holds no checkpoint", str(folder))


def _complete(found: list[Path], folder: Path) -> tuple[Path, ...]:
    """Shards without an index, all of them."""
    matches = [_SHARD.match(entry.name) for entry in found]
    counts = {int(match["count"]) for match in matches if match}
    if counts != {len(found)}:
        raise InputError(
            f"holds {len(found)} shards of {', '.join(map(str, sorted(counts)))}", str(folder)
        )
    return tuple(found)


def _of_deepspeed(folder: Path) -> tuple[Path, ...]:
    if any(folder.glob(_ZERO3)):
        raise InputError(
            "holds parameters in shards of ZeRO stage 3, convert them with its own script: "
            f"python {folder.parent.name}/zero_to_fp32.py {folder.parent.name} FOLDER",
            str(folder),
        )
    states = sorted(folder.glob("mp_rank_*_model_states.pt"))
    layers = [(e, m) for e in sorted(folder.iterdir()) if (m := _PIPELINE.match(e.name))]
    if len(states) > 1 or len({match[2] for _, match in layers}) > 1:
        raise InputError("holds a model in tensor-parallel shards, merge them first", str(folder))
    return tuple(entry for entry, _ in layers) or tuple(states)


def _identity(file: Path) -> str:
    status = file.stat()
    digest = blake2b(digest_size=12)
    with file.open("rb") as stream:
        for place in (0, status.st_size // 2, max(status.st_size - _SAMPLE, 0)):
            stream.seek(place)
            digest.update(stream.read(_SAMPLE))
    return f"{status.st_size}:{status.st_mtime_ns}:{digest.hexdigest()}"
