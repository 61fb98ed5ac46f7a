"""CPU seconds, the machine they are of, and its ceilings."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")
_PRODUCT_SIZE = 2000
_COPY_NUMBERS = 16_000_000  # 128 MB, beyond any cache


def cpu_seconds(work: Callable[[], Result]) -> tuple[Result, float]:
    """What `work` returns, and the CPU seconds of all threads that it took."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def product_rate() -> float:
    """Floating-point operations per second of a product of double matrices, best of three."""
    left = np.random.default_rng(0).standard_normal((_PRODUCT_SIZE, _PRODUCT_SIZE))
    out = np.empty_like(left)
    best = min(cpu_seconds(lambda: np.matmul(left, left, out=out))[1] for _ in range(3))
    return 2.0 * _PRODUCT_SIZE**3 / best


def stream_rate() -> float:
    """Bytes read and written per second by a copy in main memory, best of five."""
    source = np.ones(_COPY_NUMBERS)
    target = np.zeros_like(source)
    best = min(cpu_seconds(lambda: np.copyto(target, source))[1] for _ in range(5))
    return 2.0 * source.nbytes / best


def machine() -> dict[str, Any]:
    """Processor and versions, for the head of a report."""
    from dmft.version import package_version

    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "dmft": package_version(),
        "product_gflops": round(product_rate() / 1e9, 1),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
