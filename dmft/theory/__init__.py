"""Closed forms of the mean field: limits of training, rates, timescales."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmft.theory.least_norm import LeastNorm, basis_pursuit, l1_transition, minimum_l2
    from dmft.theory.prediction import Prediction, predict

_LAZY = {
    "LeastNorm": "least_norm",
    "Prediction": "prediction",
    "basis_pursuit": "least_norm",
    "l1_transition": "least_norm",
    "minimum_l2": "least_norm",
    "predict": "prediction",
}
__all__ = ["LeastNorm", "Prediction", "basis_pursuit", "l1_transition", "minimum_l2", "predict"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"dmft.theory.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'dmft.theory' has no attribute '{name}'")
