"""Whether a solve fits into this machine, found out before it begins."""

from __future__ import annotations

import os

_MEMORY_SHARE = 0.8


def memory_excess(needed: float) -> str:
    """Words on how much more memory is needed (bytes) than there is; none if it is enough."""
    if not hasattr(os, "sysconf"):
        return ""
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= _MEMORY_SHARE * available:
        return ""
    return f"needs {needed / 2**30:.1f} GiB (this machine has {available / 2**30:.1f})"
