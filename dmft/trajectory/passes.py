"""One pass over the checkpoints: what the cache knows, what is to be computed, what was found."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import numpy as np

from dmft.trajectory.attention import Part
from dmft.trajectory.cache import Cache
from dmft.trajectory.engine import Progress, accumulate, unit_bytes, workers_for
from dmft.trajectory.layout import Piece, units_of
from dmft.trajectory.sameness import are_equal
from dmft.trajectory.series import Series

SAVE_SECONDS = 30.0


class ExactPass:
    """One pass: what the cache knows, what is to be computed, what was found."""

    def __init__(
        self,
        series: Series,
        parts: list[Part],
        pieces: list[Piece],
        wanted: list[int],
        cache: Cache,
    ) -> None:
        self.series, self.parts, self.pieces, self.wanted = series, parts, pieces, wanted
        self.cache, self.computed = cache, 0
        self.identities = [checkpoint.identity for checkpoint in series.checkpoints]
        self.grams: dict[int, np.ndarray] = {}
        self._known: dict[int, np.ndarray] = {}
        for i in wanted:
            self.grams[i], self._known[i] = cache.known(self.identities, pieces[i].name)
        self.tied: tuple[str, ...] = ()
        self.still: tuple[str, ...] = ()

    def complete(
        self,
        memory: int,
        threads: int | None,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        """Compute what is missing; whatever happens, the cache keeps what was finished."""
        missing = [i for i in self.wanted if not self._known[i].all()]
        units = list(units_of(self.parts, self.pieces, missing, len(self.identities)))
        largest = max((unit_bytes(self.series, unit) for unit in units), default=0)
        workers = workers_for(memory - self._loaded(missing), threads, largest) if units else 1
        rows = {i: np.flatnonzero(~self._known[i]) for i in missing}
        saved = monotonic()
        try:
            for i, gram in accumulate(
                self.series, units, rows.__getitem__,
                workers=workers, progress=progress, stop=stop,
            ):  # fmt: skip
                self._finish(i, rows[i], gram)
                if monotonic() - saved > SAVE_SECONDS:
                    self.cache.save()
                    saved = monotonic()
        finally:
            self.cache.save()
        self.computed = sum(self._bytes(unit.tensor, unit.stop - unit.start) for unit in units)
        self._drop_still()
        self._drop_tied()

    def _finish(self, i: int, rows: np.ndarray, gram: np.ndarray) -> None:
        self.grams[i][rows] = gram
        self.grams[i][:, rows] = gram.T
        self.cache.add(self.identities, self.pieces[i].name, self.grams[i])

    def _bytes(self, tensor: str, length: int) -> int:
        return sum(row[tensor].itemsize * length for row in self.series.rows)

    def _loaded(self, missing: list[int]) -> int:
        """Memory of the largest tensor that has to be loaded whole, two at a time."""
        names = {self.parts[self.pieces[i].part].tensor for i in missing}
        whole = [
            sum(row[name].itemsize * row[name].size for row in self.series.rows
                if row[name].whole is not None)
            for name in names
        ]  # fmt: skip
        return 2 * max(whole, default=0)

    def _by_tensor(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i in self.wanted:
            found.setdefault(self._tensor(i), []).append(i)
        return found

    def _tensor(self, piece: int) -> str:
        return self.parts[self.pieces[piece].part].tensor

    def _drop_still(self) -> None:
        """Tensors that never move, unless none does: buffers and what was frozen."""
        moving = {
            tensor for tensor, pieces in self._by_tensor().items()
            if any(self.grams[i][1:, 1:].any() for i in pieces)
        }  # fmt: skip
        if moving:
            self.still = tuple(tensor for tensor in self._by_tensor() if tensor not in moving)
            self.wanted = [i for i in self.wanted if self._tensor(i) in moving]

    def _drop_tied(self) -> None:
        """Tensors that are equal in every checkpoint, to the last bit, and move: tied weights.

        Equal matrices are not enough, q = -p has them too: the contents are compared.
        """
        seen: dict[bytes, list[str]] = {}
        tied = []
        for tensor, pieces in self._by_tensor().items():
            stack = np.array([self.grams[i] for i in pieces])
            if not stack[:, 1:, 1:].any():
                continue
            key = repr(self.series.rows[0][tensor].shape).encode() + stack.tobytes()
            if any(self._equal(other, tensor) for other in seen.get(key, [])):
                tied.append(tensor)
            else:
                seen.setdefault(key, []).append(tensor)
        self.tied = tuple(tied)
        self.wanted = [i for i in self.wanted if self._tensor(i) not in tied]

    def _equal(self, first: str, second: str) -> bool:
        question = [*self.identities, first, second]
        known = self.cache.answer(question)
        if known is None:
            known = are_equal(self.series, first, second)
            self.cache.keep_answer(question, known)
            self.cache.save()
        return known

    def part_numbers(self) -> list[int]:
        """The parts that count, increasing."""
        return sorted({self.pieces[i].part for i in self.wanted})

    def piece_part(self) -> np.ndarray:
        """Of each piece the place of its part among them."""
        place = {number: i for i, number in enumerate(self.part_numbers())}
        return np.array([place[self.pieces[i].part] for i in self.wanted])
