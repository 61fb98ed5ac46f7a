"""The tensors of a checkpoint whose files are laid out as those of another one.

Most checkpoints of a run differ in nothing but the numbers. A table of tensors for each takes
longer than adding a checkpoint to hundreds; where headers and lengths are equal, one serves all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dmft.trajectory.readers import safetensors
from dmft.trajectory.readers.tensor import Tensor


class Moved(Mapping[str, Tensor]):
    """Tensors of other files, found in these; each is made when it is asked for.

    Parameters
    ----------
    first : the tensors of the other checkpoint.
    paths : of each of its files the one here.
    """

    def __init__(self, first: Mapping[str, Tensor], paths: Mapping[Path, Path]) -> None:
        self.first, self.paths = first, paths
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        made = self._made.get(name)
        if made is None:
            other = self.first[name]
            made = Tensor(
                self.paths[other.path], other.name, other.shape, other.dtype, other.offset
            )
            self._made[name] = made
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self.first)

    def __len__(self) -> int:
        return len(self.first)


class Layout:
    """Headers and lengths of the files of one checkpoint, against which others are held.

    Parameters
    ----------
    files : of one checkpoint.
    row : its tensors.
    """

    def __init__(self, files: Sequence[Path], row: Mapping[str, Tensor]) -> None:
        self._files, self._row = files, row
        told = [file.name.lower().endswith(".safetensors") for file in files]
        self._heads = [safetensors.head(file) for file in files] if all(told) else []

    def moved(self, files: Sequence[Path]) -> Moved | None:
        """The same tensors in these files; None unless headers and lengths are the same."""
        if not self._heads or len(files) != len(self._files):
            return None
        for file, head in zip(files, self._heads, strict=True):
            if head is None or not file.name.lower().endswith(".safetensors"):
                return None
            if safetensors.head(file) != head:
                return None
        return Moved(self._row, dict(zip(self._files, files, strict=True)))
