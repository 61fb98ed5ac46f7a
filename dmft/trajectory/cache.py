"""Gram matrices of pieces on disk, found again by the identity of the checkpoint files.

A *set* holds matrices of one sequence of checkpoints. Another sequence takes from it whatever is a
linear combination: after a checkpoint was added or taken away, only the rows of new differences
are computed. The old set stays until the new one covers it, so nothing is lost when that fails.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.store.hdf5 import numbers_of, reading, writing
from dmft.store.header import write_header
from dmft.store.output import remove_leftovers
from dmft.texts import parse_json

if TYPE_CHECKING:
    import h5py

SCHEMA = "dmft-trajectory-cache"
_FEW = 1 / 16  # of the rows of a file, as many as are kept beside it


class Cache:
    """Sets of Gram matrices, {identities of checkpoints: {piece: (T, T)}}; in memory, or a file.

    Parameters
    ----------
    path : HDF5 file, read if it exists; None keeps everything in memory. Of a growing run the
        last rows are in PATH.more.

    Raises
    ------
    InputError : a file of another kind, or a damaged one.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._sets: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        self._answers: dict[str, bool] = {}
        self._projections: dict[str, dict[str, np.ndarray]] = {}
        self._changed = False
        self._written: dict[str, frozenset[str]] = {}  # rows in the file itself
        self._anew = True  # whether it has to be written anew
        if path is not None and path.exists():
            self._sets, self._projections, self._answers = _read(path)
            self._written = {title: frozenset(rows) for title, rows in self._projections.items()}
            self._anew = False
        if path is not None and _beside(path).exists():
            for title, rows in _read(_beside(path))[1].items():
                self._projections[title] = self._projections.get(title, {}) | rows

    def known(self, identities: Sequence[str], piece: str) -> tuple[np.ndarray, np.ndarray]:
        """What is known of a piece: its matrix (T, T), and which rows and columns of it, (T,)."""
        best = np.zeros((len(identities),) * 2), np.zeros(len(identities), bool)
        for others, matrices in self._sets.items():
            if piece not in matrices:
                continue
            there = _places(tuple(identities), others)
            if there is None:
                change, rows = _change(identities, others)
            else:
                rows = there >= 0
            if rows.sum() > best[1].sum():
                matrix = matrices[piece]
                best = change @ matrix @ change.T if there is None else _at(matrix, there), rows
        return best

    def add(self, identities: Sequence[str], piece: str, gram: np.ndarray) -> None:
        """Keep the matrix of a piece."""
        self._sets.setdefault(tuple(identities), {})[piece] = gram
        self._changed = self._anew = True

    def projections(self, title: str) -> dict[str, np.ndarray]:
        """What is known of a projection: its rows by what they depend on."""
        return dict(self._projections.get(title, {}))

    def keep_projections(self, title: str, rows: dict[str, np.ndarray]) -> None:
        """Keep the rows of a projection in place of those known."""
        self._projections[title] = rows
        self._changed = True

    def answer(self, question: Sequence[str]) -> bool | None:
        """What was found before, None if it was not asked."""
        return self._answers.get(_digest(question))

    def keep_answer(self, question: Sequence[str], found: bool) -> None:
        """Keep the answer to a question of yes or no."""
        self._answers[_digest(question)] = found
        self._changed = self._anew = True

    def save(self) -> None:
        """Write what was added; sets that another one covers are dropped.

        A few rows of projections go to a small file beside the file, whose size does not
        matter then; with more of them all of it is written anew.

        Raises
        ------
        DmftError : the file could not be written.
        """
        if self.path is None or not self._changed:
            return
        more = self._more()
        if not self._anew and _count(more) <= _FEW * _count(self._written):
            with _writing(_beside(self.path)) as file:
                _write_projections(file, more)
        else:
            self._write(self.path)
            # Not before: its rows may be there twice. It was read, so it is no other's file.
            _beside(self.path).unlink(missing_ok=True)
            remove_leftovers(_beside(self.path))
        self._changed = False

    def _more(self) -> dict[str, dict[str, np.ndarray]]:
        """Rows that are not in the file itself."""
        found = {}
        for title, rows in self._projections.items():
            written = self._written.get(title, frozenset())
            found[title] = {key: row for key, row in rows.items() if key not in written}
        return {title: rows for title, rows in found.items() if rows}

    def _write(self, path: Path) -> None:
        self._sets = {
            key: matrices for key, matrices in self._sets.items()
            if not any(_covers(other, self._sets[other], key, matrices) for other in self._sets)
        }  # fmt: skip
        with _writing(path) as file:
            for number, (identities, matrices) in enumerate(self._sets.items()):
                group = file.create_group(f"sets/{number}")
                group.attrs["checkpoints"] = json.dumps(identities)
                group["piece"] = list(matrices)
                group["gram"] = np.array(list(matrices.values()))
            file.attrs["answers"] = json.dumps(self._answers)
            _write_projections(file, self._projections)
        self._written = {title: frozenset(rows) for title, rows in self._projections.items()}
        self._anew = False


def _beside(path: Path) -> Path:
    """The file of rows that were added since the cache was written."""
    return path.with_name(f"{path.name}.more")


def _count(rows: Mapping[str, Collection[str]]) -> int:
    return sum(len(some) for some in rows.values())


@contextmanager
def _writing(path: Path) -> Iterator[h5py.File]:
    with writing(path) as file:
        write_header(file, SCHEMA, {}, seeds=(), command_line=None, status="done", reason="")
        yield file


def _write_projections(file: h5py.File, projections: dict[str, dict[str, np.ndarray]]) -> None:
    for number, (title, rows) in enumerate(projections.items()):
        group = file.create_group(f"projections/{number}")
        group.attrs["title"] = title
        group["key"] = list(rows)
        group["row"] = np.array(list(rows.values()))


@lru_cache(maxsize=4)  # asked for every piece
def _places(wanted: tuple[str, ...], there: tuple[str, ...]) -> np.ndarray | None:
    """Where the basis vectors of one sequence are in that of another, -1 of those that are not.

    None if some are sums of others: where checkpoints were taken away.
    """
    place = {identity: i for i, identity in enumerate(there)}
    found = np.full(len(wanted), -1)
    for t, (before, identity) in enumerate(zip((None, *wanted), wanted, strict=False)):
        at, last = place.get(identity, -1), -1 if before is None else place.get(before, -1)
        if at < 0 or (before is not None and last < 0):
            continue
        if at != last + 1:
            return None
        found[t] = at
    return found


def _at(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows and columns from these places, zero where they are -1."""
    rows = places >= 0
    return np.where(np.outer(rows, rows), matrix[np.ix_(places, places)], 0.0)


def _change(wanted: Sequence[str], there: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The basis of one sequence in that of another, (T, T'), and which rows exist, (T,)."""
    place = {identity: i for i, identity in enumerate(there)}
    sums = np.tril(np.ones((len(there),) * 2))  # theta_i in the basis
    change = np.zeros((len(wanted), len(there)))
    rows = np.zeros(len(wanted), bool)
    for t, identity in enumerate(wanted):
        before = wanted[t - 1] if t else None
        if identity not in place or (before is not None and before not in place):
            continue
        rows[t] = True
        change[t] = sums[place[identity]]
        if before is not None:
            change[t] -= sums[place[before]]
    return change, rows


def _covers(
    other: tuple[str, ...], more: dict[str, Any], key: tuple[str, ...], less: dict[str, Any]
) -> bool:
    return other != key and set(key) <= set(other) and less.keys() <= more.keys()


def _digest(question: Sequence[str]) -> str:
    return blake2b(json.dumps(list(question)).encode(), digest_size=16).hexdigest()


def _read(path: Path) -> tuple[dict[Any, Any], dict[str, dict[str, np.ndarray]], dict[str, bool]]:
    sets, projections = {}, {}
    with reading(path) as file:
        if file.attrs.get("schema") != SCHEMA:
            raise InputError("is no cache of trajectories")
        for group in file.get("sets", {}).values():
            identities = tuple(parse_json(group.attrs["checkpoints"]))
            grams, names = numbers_of(group["gram"]), group["piece"].asstr()[()]
            if grams.shape != (len(names), len(identities), len(identities)):
                raise InputError(f"dataset {group.name}/gram has shape {grams.shape}, damaged?")
            sets[identities] = dict(zip(names, grams, strict=True))
        for group in file.get("projections", {}).values():
            keys, rows = group["key"].asstr()[()], numbers_of(group["row"])
            if len(keys) != len(rows):
                raise InputError(f"dataset {group.name}/row has {len(rows)} rows, damaged?")
            projections[str(group.attrs["title"])] = dict(zip(keys, rows, strict=True))
        answers = parse_json(file.attrs.get("answers", "{}"))
    return sets, projections, answers
