"""CPU time and peak memory of one solve, in units of a matrix product on the same machine.

    python benchmarks/cost.py [--paths 4096] [--t-max 100] [--json FILE]

The default problem, one replicate, compiled kernels warm. The unit is the CPU time of one product
of two 4000 x 4000 double matrices, measured before and after the solve in the same process.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dmft

SIZE = 4000


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of all threads that a call takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def matrix_product() -> float:
    """CPU seconds of one product, the best of three."""
    left = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    return min(cpu_seconds(lambda: left @ left) for _ in range(3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=4096)
    parser.add_argument("--t-max", type=float, default=100.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    problem = dmft.Problem()
    dmft.solve(problem, t_max=0.1, n_paths=64, replicates=1)  # load compiled kernels
    settings = {"t_max": arguments.t_max, "n_paths": arguments.paths, "replicates": 1}
    solve = cpu_seconds(lambda: dmft.solve(problem, **settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    unit = matrix_product()
    work = dmft.solve(problem, **settings).work
    result = {
        "solve_cpu_seconds": solve,
        "product_cpu_seconds": unit,
        "ratio": solve / unit,
        "peak_memory_gib": peak,
        "work": work,
    }
    print(f"solve {solve:.2f} s, product {unit:.2f} s, ratio {solve / unit:.2f}")
    print(f"peak memory {peak:.2f} GiB, work {work}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
