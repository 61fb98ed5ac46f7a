"""Conservation laws of gradient flows: how many, which, and how certain.

A function h of the parameters is conserved if its gradient is orthogonal to every gradient of
every loss. The number of independent ones near a generic point is D minus the dimension of the
Lie algebra which these gradient fields generate (Frobenius; Marcotte, Gribonval, Peyre,
"Abide by the Law and Follow the Flow", NeurIPS 2023, theorem 3.3).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dmft.conservation.architectures import Architecture, parse_architecture

if TYPE_CHECKING:
    from dmft.conservation.counting import Certificate, Count, count
    from dmft.conservation.floating import FloatCount, count_float
    from dmft.conservation.law import Law
    from dmft.conservation.models import discover, laws, rebalance, track
    from dmft.conservation.search import FoundLaws, dictionary_laws, polynomial_laws
    from dmft.conservation.verification import Verification, verify

_LAZY = {
    "Certificate": "counting",
    "Count": "counting",
    "Law": "law",
    "FloatCount": "floating",
    "FoundLaws": "search",
    "Verification": "verification",
    "discover": "models",
    "laws": "models",
    "rebalance": "models",
    "track": "models",
    "count_float": "floating",
    "verify": "verification",
    "count": "counting",
    "dictionary_laws": "search",
    "polynomial_laws": "search",
}
__all__ = [
    "Architecture", "Certificate", "Count", "FloatCount", "FoundLaws", "Law", "Verification",
    "count", "count_float", "dictionary_laws", "discover", "laws", "parse_architecture",
    "polynomial_laws", "rebalance", "track", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
