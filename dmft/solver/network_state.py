"""The state (p, q) of a coordinate at the start of a panel, as problem/networks.py defines it."""

from __future__ import annotations

import math

import numpy as np

from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR


def initial_state(
    code: int, depth: int, a0: np.ndarray, b0: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) of networks.py at t = 0."""
    if code == DEPTH_TWO:
        with np.errstate(divide="ignore"):
            return np.log(np.abs(a0)), np.log(np.abs(b0))
    if code == DEEP:
        return a0 ** (2.0 - depth), b0 ** (2.0 - depth)
    if code == LINEAR:
        return np.zeros_like(a0), np.zeros_like(b0)
    raise ValueError(f"unknown network {code}")


def moved_state(
    code: int,
    depth: int,
    decay: float,
    growth: float,
    p: np.ndarray,
    q: np.ndarray,
    accumulated: np.ndarray,
    step: float,
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) of networks.py after a panel with this accumulated force at its end."""
    if code == DEPTH_TWO:
        return p - accumulated - decay * step, q + accumulated - decay * step
    if code == DEEP:
        scale = math.exp(growth * step)
        with np.errstate(over="ignore"):  # infinite state: weights that have decayed to zero
            return scale * (p + (depth - 2) * accumulated), scale * (q - (depth - 2) * accumulated)
    if code == LINEAR:
        return math.exp(-decay * step) * (p - accumulated), q
    raise ValueError(f"unknown network {code}")
