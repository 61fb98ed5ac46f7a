"""What is asked of the parts of a saved state, of a solve or of a simulation."""

from __future__ import annotations

from typing import Any

from dmft.errors import InputError


def require(holds: bool, name: str) -> None:
    """Refuse a state whose part of this name is not what it must be.

    Raises
    ------
    InputError : it names the part.
    """
    if not holds:
        raise InputError(f"given a state whose '{name}' is damaged, cannot resume", "resume")


def is_count(value: Any) -> bool:
    """Whether it is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
