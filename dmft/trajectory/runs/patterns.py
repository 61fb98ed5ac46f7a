"""Steps by a pattern that the user gives: shell wildcards, and {step} for the number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dmft.errors import InputError
from dmft.trajectory.runs.names import DATE, seconds, stem, value_of
from dmft.trajectory.runs.steps import Reading

ORDER = "order"
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][-+]\d+)?(?:[kKmMbBG](?![A-Za-z]))?"
_PLACES = {"{epoch}": _NUMBER, "{step}": _NUMBER, "{date}": r"[0-9][0-9T:_.-]*[0-9]"}


def steps_by_pattern(names: Sequence[str], pattern: str, where: str) -> Reading:
    """Steps of the names that match; the others are left out.

    Parameters
    ----------
    pattern : of the name, with or without its ending: * and ? as in a shell, {step} the step, or
        {epoch}, or both for steps that begin anew in each epoch (numbered 0, 1, ... then), or
        {date} for a date (numbered in seconds since the first).

    Raises
    ------
    InputError : no such place in the pattern, or no name that matches.
    """
    places = re.findall(r"\{[a-z]*\}", pattern)
    if not places or set(places) - set(_PLACES) or len(set(places)) < len(places):
        raise InputError(
            f"given '{pattern}', must be 'order' or hold {{step}}, {{epoch}} or {{date}} once, "
            "with * for anything",
            "steps",
        )
    regex = re.compile(_expression(pattern))
    keys: dict[str, tuple[float, ...]] = {}
    for name in names:
        match = regex.fullmatch(stem(name)) or regex.fullmatch(name)
        if match is not None:
            keys[name] = tuple(_value(place, match[place[1:-1]], name) for place in sorted(places))
    if len(keys) < 2:
        raise InputError(
            f"given '{pattern}', which {len(keys)} names match, there are "
            f"{', '.join(sorted(names)[:3])}, ...",
            "steps",
        )
    step = _as_steps(keys, places, where)
    left_out = {name: f"not as {pattern}" for name in names if name not in step}
    return Reading(tuple(step.get(name) for name in names), f"by {pattern}", left_out)


def _as_steps(
    keys: dict[str, tuple[float, ...]], places: list[str], where: str
) -> dict[str, float]:
    if len(places) > 1:
        order = sorted(set(keys.values()))
        if len(order) < len(keys):
            raise InputError(f"holds the same {' and '.join(places)} twice", where)
        return {name: order.index(key) for name, key in keys.items()}
    first = min(keys.values())[0] if places == ["{date}"] else 0
    return {name: key[0] - first for name, key in keys.items()}


def _expression(pattern: str) -> str:
    expression = ""
    for piece in re.split(r"(\{[a-z]+\}|\*|\?)", pattern):
        if piece in _PLACES:
            expression += f"(?P<{piece[1:-1]}>{_PLACES[piece]})"
        else:
            expression += {"*": ".*", "?": "."}.get(piece, re.escape(piece))
    return expression


def _value(place: str, text: str, name: str) -> float:
    value = value_of(text)
    if place == "{date}" and (value is None or not re.fullmatch(DATE, text)):
        digits = re.sub(r"\D", "", text)
        value = None
        if re.fullmatch(r"(?:19|20)\d{6}(?:\d{4}(?:\d\d)?)?", digits):
            value = seconds(digits)
    if value is None:
        raise InputError(f"holds '{text}', which is no {place[1:-1]}", name)
    return value
