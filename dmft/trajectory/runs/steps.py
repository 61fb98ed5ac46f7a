"""The step of every checkpoint from its name, or a refusal that shows the readings.

Names fall into templates by what is not a number. Of one template the numbers that vary are
candidates; a number after a word for steps wins over one after a word for epochs, that over
counts and plain numbers; results, settings, seeds and dates are never steps. What is left in doubt
is refused, and a pattern decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dmft.errors import InputError
from dmft.trajectory.runs.names import Name, Number, looks_like_date, taken_apart
from dmft.trajectory.runs.words import (
    ASIDE,
    COUNT,
    EPOCH,
    METRIC,
    PLAIN,
    RELEASES,
    RUN,
    STEP,
    WITHIN_RUN,
    words_of,
)

_DECIDE = "decide with --steps PATTERN"


@dataclass(frozen=True)
class Reading:
    """Steps of names.

    steps : of each name, None for what is left out.
    said : which number it is, for people.
    left_out : why, by name.
    """

    steps: tuple[float | None, ...]
    said: str
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Column:
    """The number in one place of a template, over all names."""

    place: int
    numbers: tuple[Number, ...]

    @property
    def values(self) -> list[float | None]:
        return [number.value for number in self.numbers]

    @property
    def kind(self) -> str:
        kind = self.numbers[0].kind
        if self.numbers[0].doubtful and self.fractional:
            return METRIC
        if kind in (PLAIN, COUNT, RUN) and all(looks_like_date(n.text) for n in self.numbers):
            return "date"
        return kind

    @property
    def fractional(self) -> bool:
        return any(number.fractional or "." in number.text for number in self.numbers)

    @property
    def varies(self) -> bool:
        return len({number.text for number in self.numbers}) > 1

    def described(self) -> str:
        word = self.numbers[0].word
        what = f"after '{word}'" if word else f"in place {self.place + 1}"
        texts = list(dict.fromkeys(number.text for number in self.numbers))
        return f"the number {what} ({', '.join(texts[:3])}{', ...' if len(texts) > 3 else ''})"


def read_steps(names: Sequence[str], where: str) -> Reading | None:
    """Steps of the names; None if they are no numbered series at all.

    Raises
    ------
    InputError : several readings, or several series in one folder.
    """
    apart = [taken_apart(name) for name in names]
    chosen, left_out = _one_template(apart, where)
    if not chosen:
        return None
    columns = [
        _Column(place, tuple(name.numbers[place] for name in chosen))
        for place in range(len(chosen[0].numbers))
    ]
    column = _decided(columns, chosen, where)
    bad = [name.name for name, value in zip(chosen, column.values, strict=True) if value is None]
    if bad:
        raise InputError(
            f"holds a name whose step is no single number ({bad[0]}), {_DECIDE}", where
        )
    _check_decimals(column, where)
    step = {name.name: value for name, value in zip(chosen, column.values, strict=True)}
    return Reading(tuple(step.get(name) for name in names), column.described(), left_out)


def _one_template(apart: list[Name], where: str) -> tuple[list[Name], dict[str, str]]:
    """The names that are the series, and why the others are not; none if nothing is numbered."""
    groups: dict[str, list[Name]] = {}
    for name in apart:
        groups.setdefault(name.template, []).append(name)
    numbered = {key: group for key, group in groups.items() if group[0].numbers}
    if len(groups) == 1:
        return next(iter(numbered.values()), []), {}
    left_out: dict[str, str] = {}
    if not any(len(group) > 1 for group in numbered.values()) and len(numbered) != len(groups):
        return [], {}
    common = set.intersection(*(set(words_of(key)) for key in numbered))
    for key, group in groups.items():
        aside = sorted((set(words_of(key)) - common) & ASIDE)
        if not group[0].numbers:
            left_out |= dict.fromkeys((name.name for name in group), "no step in its name")
        elif aside and len(numbered) > 1:
            left_out |= dict.fromkeys((name.name for name in group), f"named '{aside[0]}'")
            del numbered[key]
    if len(numbered) > 1:
        # Words are the difference, so the series cannot be one of them by itself.
        first, second, *_ = (group[0].name for group in numbered.values())
        raise InputError(
            f"holds names that differ in more than a number ({first}, {second}), give the files "
            f"of one series, or {_DECIDE}, as in --steps '{_pattern_of(numbered)}'",
            where,
        )
    return next(iter(numbered.values()), []), left_out


def _pattern_of(numbered: dict[str, list[Name]]) -> str:
    key = max(numbered, key=lambda key: len(numbered[key]))
    head, _, tail = key.partition("#")
    return head + "{step}" + tail.replace("#", "*").replace("@", "*")


def _decided(columns: list[_Column], names: list[Name], where: str) -> _Column:
    varying = _distinct([column for column in columns if column.varies])
    if not varying:
        counted = [c for c in columns if c.kind in (STEP, EPOCH, COUNT, PLAIN)] or columns
        return counted[0]  # "1.npz" and "01.npz": the same step twice, or a single name
    by_kind: dict[str, list[_Column]] = {}
    for column in varying:
        by_kind.setdefault(column.kind, []).append(column)
    others = [
        c for c in by_kind.get(RUN, []) if len(varying) > 1
        and not (c.numbers[0].word in WITHIN_RUN and _follows(c, varying))
    ]  # fmt: skip
    if others:
        raise InputError(
            f"holds several runs: names differ in {others[0].described()} as well, {_DECIDE}", where
        )
    for kind in (STEP, EPOCH):
        clear = [c for c in by_kind.get(kind, []) if not c.numbers[0].doubtful]
        found = clear or by_kind.get(kind, [])
        if len(found) > 1:
            raise _doubt(found, where)
        if found:
            if kind == STEP:
                _check_epochs(found[0], by_kind.get(EPOCH, []), names, where)
            _check_counts(found[0], by_kind.get(COUNT, []) + by_kind.get("date", []), where)
            return found[0]
    counts = by_kind.get(COUNT, []) + by_kind.get(PLAIN, [])
    if counts:
        return _counted(counts, by_kind.get("date", []), where)
    releases = [c for c in by_kind.get(RUN, []) if c.numbers[0].word in RELEASES]
    if len(releases) == 1 and len(varying) == 1:
        return releases[0]
    raise InputError(
        f"holds names without a step: they differ in {varying[0].described()} only, {_DECIDE}"
        + (" with {date} in it" if varying[0].kind == "date" else ""),
        where,
    )


def _counted(counts: list[_Column], dates: list[_Column], where: str) -> _Column:
    """One of several numbers without a word for steps, if there is no doubt."""
    whole = [column for column in counts if not column.fractional]
    if len(counts) > 1 and len(whole) == 1 and whole[0].place == min(c.place for c in counts):
        counts = whole
    if len(counts) > 1:
        alone = [c for c in counts if _is_order(c, [o for o in counts if o is not c])]
        counts = alone if len(alone) == 1 else counts
    if len(counts) > 1:
        raise _doubt(counts, where)
    if dates and not _follows(counts[0], dates):
        raise _doubt([counts[0], dates[0]], where)
    _check_points(counts[0], where)
    return counts[0]


def _is_order(column: _Column, others: list[_Column]) -> bool:
    """Whether its numbers differ from each other, while the others repeat and grow along it."""
    unique = len(set(column.values)) == len(column.values)
    repeat = all(len(set(other.values)) < len(other.values) for other in others)
    return unique and repeat and all(_follows(column, [other]) for other in others)


def _follows(column: _Column, others: Sequence[_Column]) -> bool:
    """Whether the others never fall as the numbers of the column grow."""
    for other in others:
        pairs = sorted(zip(_keys(column), _keys(other), strict=True))
        later = [second for _, second in pairs]
        if other is not column and later != sorted(later):
            return False
    return all(value is not None for value in column.values)


def _keys(column: _Column) -> list[float]:
    return [float("inf") if value is None else value for value in column.values]


def _distinct(columns: list[_Column]) -> list[_Column]:
    """Without those that repeat another one everywhere; the one with the better word stays."""
    rank = {STEP: 0, EPOCH: 1, COUNT: 2, PLAIN: 3}
    kept: list[_Column] = []
    for column in sorted(columns, key=lambda column: rank.get(column.kind, 4)):
        if column.kind not in rank or all(column.values != other.values for other in kept):
            kept.append(column)
    return sorted(kept, key=lambda column: column.place)


def _check_epochs(column: _Column, epochs: list[_Column], names: list[Name], where: str) -> None:
    """Steps that begin anew in every epoch are no time."""
    epochs = [other for other in epochs if other.numbers[0].word != "e"]  # might be anything
    twice = len(set(column.values)) < len(column.values)
    if not epochs or (not twice and _follows(column, epochs)):
        return
    # Lightning's names: its step counts through.
    if not twice and all("epoch=" in name.name and "step=" in name.name for name in names):
        return
    raise InputError(
        f"holds steps that seem to begin anew in each epoch ({names[0].name}, {names[-1].name}), "
        f"{_DECIDE} with {{epoch}} and {{step}} in it",
        where,
    )


def _check_counts(column: _Column, counts: list[_Column], where: str) -> None:
    """Rounds or days, or dates, that begin with fewer epochs than the one before ended with."""
    for other in counts:
        whole = other.kind == "date" or not other.fractional
        if whole and not _follows(column, [other]):
            raise _doubt(sorted([column, other], key=lambda c: c.place), where)


def _check_points(column: _Column, where: str) -> None:
    """1.9, 1.10: two numbers or one? Only where it changes the order."""
    parts = [number.text.split(".") for number in column.numbers]
    if all(len(part) == 1 for part in parts):
        return
    if all(len(part) == 2 and "".join(part).isdigit() for part in parts):
        as_pairs = sorted(column.numbers, key=lambda n: [int(x) for x in n.text.split(".")])
        as_numbers = sorted(column.numbers, key=lambda n: n.value or 0.0)
        if [n.text for n in as_pairs] != [n.text for n in as_numbers]:
            raise _doubt_of_points(column, where)


def _check_decimals(column: _Column, where: str) -> None:
    """1.9 and 1.10 beside each other are rather versions, whatever the word."""
    decimals = [n.text.partition(".")[2] for n in column.numbers if "." in n.text]
    if len({len(d) for d in decimals}) > 1 and any(
        d.endswith("0") and len(d) > 1 for d in decimals
    ):
        raise _doubt_of_points(column, where)


def _doubt_of_points(column: _Column, where: str) -> InputError:
    return InputError(
        f"holds {column.described()}, which may be read as one number or as two, {_DECIDE}", where
    )


def _doubt(columns: list[_Column], where: str) -> InputError:
    readings = " or ".join(column.described() for column in columns)
    return InputError(f"holds names whose step may be {readings}, {_DECIDE}", where)
