"""Random numbers by their place in a sequence, so that any part of it costs its length only.

SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@cache
def start_of(seed: int) -> np.uint64:
    """Where the sequence of a seed starts: itself a hash, so that two of them do not meet."""
    return np.uint64(_mixed(np.array([seed], np.uint64) * _GOLDEN)[0])


def hashed(numbers: np.ndarray, start: np.uint64) -> np.ndarray:
    """64 random bits for each of these places of a sequence, uint64."""
    return _mixed(numbers.astype(np.uint64) * _GOLDEN + start)


def signs(position: int, count: int, start: np.uint64) -> np.ndarray:
    """+1 or -1 from a place on, a bit for each; int8."""
    words = np.arange(position // 64, (position + count - 1) // 64 + 1)
    bits = np.unpackbits(hashed(words, start).astype("<u8").view(np.uint8), bitorder="little")
    first = position % 64
    return np.int8(1) - np.int8(2) * bits[first : first + count].view(np.int8)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
