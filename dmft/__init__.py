"""Dynamical mean-field theory of diagonal linear networks, and the subjects around it.

The heavy parts (numba, HDF5, SciPy) are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dmft.errors import DmftError, InputError, Interrupted, NotConverged
from dmft.problem import Problem

if TYPE_CHECKING:
    from dmft.results.comparison import compare
    from dmft.results.solution import Solution
    from dmft.simulation import Simulation, simulate
    from dmft.solver import solve
    from dmft.store import load, save

_LAZY = {
    "Simulation": "dmft.simulation",
    "Solution": "dmft.results.solution",
    "compare": "dmft.results.comparison",
    "load": "dmft.store",
    "save": "dmft.store",
    "simulate": "dmft.simulation",
    "solve": "dmft.solver",
}
__all__ = [
    "DmftError", "InputError", "Interrupted", "NotConverged", "Problem", "Simulation", "Solution",
    "compare", "load", "save", "simulate", "solve",
]  # fmt: skip

_SUBJECTS = ("conservation", "plotting", "sweep", "symmetry", "theory", "trajectory")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBJECTS, "__version__"})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        from dmft.version import package_version

        return package_version()
    if name in _SUBJECTS:
        return importlib.import_module(f"dmft.{name}")
    raise AttributeError(f"module 'dmft' has no attribute '{name}'")
