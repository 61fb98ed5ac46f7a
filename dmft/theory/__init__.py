"""Closed forms of the mean field: limits of training, rates, timescales."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmft.theory.least_norm import LeastNorm, basis_pursuit, l1_transition, minimum_l2
    from dmft.theory.limits import Limit, limit, max_margin
    from dmft.theory.measurement import detect_phases, measured_rate
    from dmft.theory.prediction import Prediction, predict
    from dmft.theory.searching import Search, search
    from dmft.theory.separability import separability_threshold
    from dmft.theory.small_start import small_start_rate
    from dmft.theory.timescales import drifting_risk, grokking, learning_time
    from dmft.theory.tradeoff import trade_off

_LAZY = {
    "LeastNorm": "least_norm",
    "Limit": "limits",
    "Prediction": "prediction",
    "Search": "searching",
    "basis_pursuit": "least_norm",
    "detect_phases": "measurement",
    "drifting_risk": "timescales",
    "grokking": "timescales",
    "l1_transition": "least_norm",
    "learning_time": "timescales",
    "limit": "limits",
    "max_margin": "limits",
    "measured_rate": "measurement",
    "minimum_l2": "least_norm",
    "predict": "prediction",
    "search": "searching",
    "separability_threshold": "separability",
    "small_start_rate": "small_start",
    "trade_off": "tradeoff",
}
__all__ = [
    "LeastNorm", "Limit", "Prediction", "Search", "basis_pursuit", "detect_phases",
    "drifting_risk", "grokking", "l1_transition", "learning_time", "limit", "max_margin",
    "measured_rate", "minimum_l2", "predict", "search", "separability_threshold",
    "small_start_rate", "trade_off",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"dmft.theory.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'dmft.theory' has no attribute '{name}'")
