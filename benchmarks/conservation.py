"""What counting conservation laws costs: random small networks, large ones, growth and memory.

    python benchmarks/conservation.py            # a minute on one core
    python benchmarks/conservation.py --quick    # small networks only
    python benchmarks/conservation.py --json cost.json

Compilation is left out: a first count is not timed. Run with one thread (OPENBLAS_NUM_THREADS=1).
Every count has to be exact: rank and explicit laws must agree.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from dmft.conservation import count, parse_architecture

NETWORKS = 50


def random_networks(kind: str, seed: int) -> list[dict[str, Any]]:
    """Networks of 2 to 4 layers, of widths 2 to 5 (linear) or 2 to 9 (ReLU, half with biases)."""
    rng = np.random.default_rng(seed)
    widest = 5 if kind == "linear" else 9
    networks = []
    for _ in range(NETWORKS):
        depth = rng.integers(2, 5)
        widths = rng.integers(2, widest + 1, depth + 1).tolist()
        bias = kind == "relu" and bool(rng.integers(2))
        networks.append({"kind": kind, "widths": widths, "bias": bias})
    return networks


def small(kind: str) -> dict[str, Any]:
    """CPU time of 50 random networks."""
    count(parse_architecture({"kind": kind, "widths": [2, 3, 2], "bias": True}))
    start = time.process_time()
    counts = [count(parse_architecture(table)) for table in random_networks(kind, seed=1)]
    seconds = time.process_time() - start
    return {
        "case": f"{NETWORKS} random {kind} networks",
        "parameters": max(result.parameters for result in counts),
        "exact": sum(result.certificate.exact for result in counts),
        "of": NETWORKS,
        "cpu_seconds": seconds,
    }


def large(table: dict[str, Any]) -> dict[str, Any]:
    """CPU time and memory of one count."""
    architecture = parse_architecture(table)
    tracemalloc.start()
    start = time.process_time()
    result = count(architecture)
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "case": f"{table['kind']} {'-'.join(map(str, table['widths']))}",
        "parameters": result.parameters,
        "laws": result.laws,
        "exact": int(result.certificate.exact),
        "of": 1,
        "cpu_seconds": seconds,
        "bytes_per_square": peak / result.parameters**2,
    }


def main() -> None:
    """Print the table; write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small networks only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    given = parser.parse_args()
    rows = [small("linear"), small("relu")]
    if not given.quick:
        for n in (10, 20, 35, 50):
            rows.append(large({"kind": "linear", "widths": [n // 2, n, n // 2, n // 2]}))
            rows.append(large({"kind": "relu", "widths": [n // 2, n, n // 2, n // 2]}))
    print(f"{'case':<32} {'D':>5} {'exact':>6} {'CPU s':>8} {'bytes/D^2':>10}")
    for row in rows:
        memory = f"{row['bytes_per_square']:.0f}" if "bytes_per_square" in row else ""
        print(
            f"{row['case']:<32} {row['parameters']:>5} {row['exact']:>3}/{row['of']:<2}"
            f" {row['cpu_seconds']:>8.2f} {memory:>10}"
        )
    print(
        f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
