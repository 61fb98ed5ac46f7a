"""When a sweep should stop because too much of it fails."""

from __future__ import annotations

import re
from collections import Counter

from dmft.sweep.folder import Folder
from dmft.sweep.worker import DONE, FAILED, NOT_CONVERGED, Outcome

_ALIKE = 10  # failures in the same words, before anything else is finished
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?|0x[0-9a-f]+", re.IGNORECASE)


class Failures:
    """Counts what fails in one run.

    Parameters
    ----------
    most : failures that are one too many; 0 for any number, None for the first `_ALIKE` alike.
    alone : whether this is the only driver, who has seen all failures since it began. Others, such
        as the tasks of an array, count those in the folder too.
    """

    def __init__(self, folder: Folder, most: int | None, *, alone: bool) -> None:
        self._most = most
        before = folder.noted()
        notes = {name: folder.read_note(name) for name in before}
        failed = {name: note for name, note in notes.items() if note.get("status") == FAILED}
        self._before = set(failed)
        self._other = bool(folder.finished())
        self._words: Counter[str] = Counter()
        if not alone:
            self._words.update(_words(str(note.get("reason", ""))) for note in failed.values())

    def too_many_before(self) -> str:
        """Why not even to begin, or ""."""
        return self._verdict()

    def too_many(self, outcome: Outcome) -> str:
        """Why to stop after this outcome, or ""."""
        if outcome.state in (DONE, NOT_CONVERGED):
            self._other = True
        if outcome.state != FAILED or outcome.name in self._before:
            return ""  # known before, and not tried again
        self._words[_words(outcome.reason)] += 1
        return self._verdict(outcome.reason)

    def _verdict(self, last: str = "") -> str:
        count = self._words.total()
        if self._most is None:
            if self._other or len(self._words) != 1 or count < _ALIKE:
                return ""
            what = f"the first {count} results failed alike"
        elif 0 < self._most <= count:
            what = f"{count} results failed"
        else:
            return ""
        reason = last or next(iter(self._words))
        return f"{what} ({reason}); --stop-after-failures 0 goes on whatever fails"


def _words(reason: str) -> str:
    """A reason without its numbers, which differ from point to point."""
    return _NUMBER.sub("#", reason)
