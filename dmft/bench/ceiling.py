"""The tangent pass against the ceilings of the machine: matrix products and main memory.

A sweep reads the stored tangents of all past nodes once and multiplies them by the responses of
the paths (`dmft.solver.response`): per stored number, 2 k^2 floating-point operations and the
bytes of the number. With k = 3 stages that is an intensity of 18/4 operations per byte in the
single precision of stored tangents. The ceiling is the smaller of the rate of a product of double
matrices and intensity times bandwidth.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from dmft.bench.clock import cpu_seconds, product_rate, stream_rate
from dmft.bench.ledger import Ledger, Record

_REPEATS = 5


def ceiling(ledger: Ledger, small: bool = False) -> Record:
    """Rates of the tangent pass for a few numbers of panels, the ceilings, and their ratios."""
    n_paths = 4096 if not small else 1024
    panels = (8, 16, 32, 64) if not small else (8, 16)
    record = ledger.measure("ceiling/machine", _machine)
    rows = [
        ledger.measure(f"ceiling/{n_paths} paths, {count} panels", partial(_pass, n_paths, count))
        for count in panels
    ]
    for row in rows:
        bound = min(record["product_flops"], row["flops"] / row["bytes"] * record["read_bytes"])
        row["of_product"] = row["flops"] / row["seconds"] / record["product_flops"]
        row["of_stream"] = row["bytes"] / row["seconds"] / record["read_bytes"]
        row["of_roofline"] = row["flops"] / row["seconds"] / bound
    return {**record, "n_paths": n_paths, "rows": rows}


def _machine() -> Record:
    return {
        "product_flops": product_rate(),
        "stream_bytes": stream_rate(),
        "read_bytes": _read_rate(),
    }


def _read_rate() -> float:
    """Bytes per second of a sum over main memory, best of five: the pass only reads."""
    source = np.ones(16_000_000)
    best = min(cpu_seconds(lambda: source @ source)[1] for _ in range(5))
    return source.nbytes / best


def _pass(n_paths: int, panels: int) -> Record:
    """Best of a few passes over random tangents."""
    from dmft.numerics.collocation import STAGES
    from dmft.numerics.workers import Workers
    from dmft.solver.response import PanelResponse, Tangents, past_response

    rng = np.random.default_rng(0)
    tangents = Tangents(n_paths, panels, STAGES, np.float32)  # as on nonlinear networks
    for _ in range(panels):
        tangents.advance()
    tangents.packed[:] = 1e-3 * rng.standard_normal(tangents.packed.shape)
    tangents.start[:] = 1e-3 * rng.standard_normal(tangents.start.shape)
    shape = (n_paths, STAGES, STAGES)
    identity = np.eye(STAGES)
    panel = PanelResponse(
        0.1 * identity, np.zeros((STAGES,) * 3), 0.1 * identity, rng.standard_normal(shape)
    )
    probability, root = np.full(n_paths, 1.0 / n_paths), np.ones(n_paths)
    workers = Workers(n_paths, None)
    seconds = min(
        cpu_seconds(lambda: past_response(workers, tangents, probability, root, panel))[1]
        for _ in range(_REPEATS)
    )
    used = tangents.packed[:, : tangents.used()]
    return {
        "panels": panels,
        "seconds": seconds,
        "flops": 2.0 * STAGES**2 * used.size,
        "bytes": float(used.size * used.itemsize),
    }
