"""Names taken apart: text, numbers, dates, and the words that say what a number is.

A number with a point is one number, with its sign after "=" or "_", its exponent and a multiplier
(10k, 1.5M); a date, with a time after it, is one as well.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import datetime

from dmft.trajectory.runs.words import (
    COUNT,
    EPOCH,
    METRIC,
    PLAIN,
    RUN,
    STEP,
    follower,
    has_metric,
    kind_of,
    words_of,
)

ENDINGS = (
    ".safetensors", ".npz", ".npy", ".h5", ".hdf5", ".pth.tar", ".pt.tar", ".tar", ".pth", ".pt",
    ".bin", ".ckpt", ".distcp", ".index.json", ".model",
)  # fmt: skip
DATE = (
    r"(?:19|20)\d\d(?P<d>[-_.])(?:0[1-9]|1[0-2])(?P=d)(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T_ -](?:[01]\d|2[0-3])(?P<t>[-:.h]?)[0-5]\d(?:(?P=t)[0-5]\d)?)?(?!\d)"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"[T_ -](?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)"
)
_PLAIN_DATE = re.compile(
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?"
    r"|1[4-9]\d{8}(?:\d{3})?"  # seconds or milliseconds since 1970
)
_NUMBER = (
    r"(?:(?<=[=_:(])[-+])?(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)*"
    r"(?:[eE][-+]\d+|[eE]\d{1,2}(?=[kKmMbBG]?(?![\dA-Za-z.])))?(?:[kKmMbBG](?=steps|iters|[^A-Za-z0-9]|$))?"
    r"|(?<=[=:_])-?(?:nan|inf)(?![a-z])"
)
_TOKEN = re.compile(rf"(?P<date>(?<!\d){DATE})|(?P<number>{_NUMBER})")
_UNSIGNED = re.compile(r"[\d.]+[eE]\d+")
# In run1e5 the second number is an epoch, in step1e5 an exponent; in 1e5 alone it may be both.
_TWO = re.compile(r"(?P<before>[A-Za-z]+)(?P<first>[-_=:. ]?\d+)(?P<second>[eE]\d+)")
_MULTIPLIER = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}


@dataclass(frozen=True)
class Number:
    """A number in a name.

    text : as written; start : where.
    value : what it is, of a date seconds since 1970; None of what is no single number (1.2.3).
    kind : of `words`, or "date"; word : that says so.
    doubtful : beside a step word there is that of a result, as in train_loss_step=0.5.
    """

    text: str
    start: int
    value: float | None
    kind: str
    word: str
    doubtful: bool = False

    @property
    def fractional(self) -> bool:
        """Written with a point or an exponent, or nothing that counts."""
        return not re.fullmatch(r"[\d,]+(?:\.\d+)?[kKmMbBG]|[\d,]+", self.text)


@dataclass(frozen=True)
class Name:
    """A name, its template with # for numbers and @ for dates, and its numbers."""

    name: str
    template: str
    numbers: tuple[Number, ...]


def stem(name: str) -> str:
    """The name without the endings of checkpoint files."""
    lower = name.lower()
    for ending in ENDINGS:
        if lower.endswith(ending):
            return stem(name[: -len(ending)])
    return name


def taken_apart(name: str) -> Name:
    """Text and numbers of a name."""
    text = _TWO.sub(_parted, stem(name))
    found = list(_TOKEN.finditer(text))
    edges = [0, *(edge for match in found for edge in match.span()), len(text)]
    between = [text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2)]
    suffix_style = bool(found) and not words_of(between[0]) and bool(words_of(between[-1]))
    numbers, template = [], [between[0]]
    before = words_of(between[0])
    for i, match in enumerate(found):
        after, left = _owners(between[i + 1], i + 1 == len(found), suffix_style)
        numbers.append(_number(match, before, after))
        template += ["@" if match["date"] else "#", between[i + 1]]
        before = left
    return Name(name, "".join(template), tuple(numbers))


def _parted(match: re.Match[str]) -> str:
    two = kind_of(words_of(match["before"]))[0] in (RUN, EPOCH)
    return f"{match['before']}{match['first']}{'_' if two else ''}{match['second']}"


def value_of(text: str) -> float | None:
    """The value of a number or date as written, an int where it is one; None if it is neither."""
    if re.fullmatch(DATE, text):
        digits = re.sub(r"\D", "", text)
        return seconds(digits)
    if text.lower().lstrip("-") in ("nan", "inf"):
        return None
    factor = _MULTIPLIER.get(text[-1].lower(), 1.0)
    bare = (text[:-1] if factor > 1.0 else text).replace(",", "")
    if bare.count(".") > 1:
        return None
    if bare.isdigit():
        return int(bare) * int(factor)
    value = float(bare) * factor
    return int(value) if factor > 1.0 and value.is_integer() else value


def looks_like_date(text: str) -> bool:
    """Whether the digits may be a date or a time stamp."""
    return bool(_PLAIN_DATE.fullmatch(text))


def _owners(text: str, last: bool, suffix_style: bool) -> tuple[list[str], list[str]]:
    """Words between two numbers: those that belong to the one before, and to the one after."""
    words = words_of(text)
    if last or not words:
        return follower(words), words
    attached_left, attached_right = text[0].isalpha(), text[-1].isalpha()
    if (attached_left and not attached_right) or (suffix_style and attached_left == attached_right):
        return follower(words), words[1:]
    return [], words


def _number(match: re.Match[str], before: list[str], after: list[str]) -> Number:
    text = match[0]
    if match["date"]:
        return Number(text, match.start(), value_of(text), "date", "")
    kind, word = kind_of(before)
    if kind in (PLAIN, COUNT) and after:
        later, other = kind_of(after)
        if later in (STEP, EPOCH) or (kind == PLAIN and later in (METRIC, COUNT)):
            kind, word = later, other
    doubtful = kind in (STEP, EPOCH) and has_metric(before)
    open_to_doubt = kind == PLAIN and _UNSIGNED.fullmatch(text)
    value = None if open_to_doubt else value_of(text)
    return Number(text, match.start(), value, kind, word, doubtful)


def seconds(digits: str) -> int:
    """Seconds since 1970 of a date as digits, with or without the time of day."""
    padded = digits + "000000"[: max(0, 14 - len(digits))]
    return timegm(datetime.strptime(padded[:14], "%Y%m%d%H%M%S").timetuple())
