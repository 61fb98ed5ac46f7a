"""Scatter of the excess risk between replicates: the tables of docs/accuracy.md.

    python benchmarks/sampling.py [--quick]

The default problem to t = 100, and one refinement of the sampling left out at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from unittest import mock

import numpy as np

import dmft
from dmft.solver import flow, innovations, march, panels, sampling

TIMES = (1.0, 10.0, 100.0)
SIZES = {256: 48, 512: 48, 1024: 32, 2048: 24, 4096: 16, 8192: 8}  # paths: replicates
WITHOUT: dict[str, Callable[[], object]] = {
    "as it is": lambda: mock.patch.object(sampling, "_WIDTH", sampling._WIDTH),
    "without importance sampling": lambda: mock.patch.object(sampling, "_WIDTH", 1.0),
    "without calibration": lambda: mock.patch.object(march, "calibrates", return_value=False),
    "without wide teachers": lambda: mock.patch.object(flow, "_WIDE_TEACHER", None),
    "without rehearsal": lambda: mock.patch.object(panels, "rehearsed", return_value=False),
    "without rotation": lambda: mock.patch.object(
        flow, "noise_rotation", lambda march: np.eye(march.noise_response().shape[1])
    ),
    "without orthogonality": lambda: mock.patch.object(
        innovations, "extended_basis", lambda basis, columns, *leverage: (basis, columns)
    ),
}


def scatter(problem: dmft.Problem, n_paths: int, replicates: int) -> tuple[list[str], float]:
    """Relative standard deviations (and means) at TIMES, and CPU seconds per replicate."""
    begin = time.process_time()
    solution = dmft.solve(
        problem, t_max=TIMES[-1], n_paths=n_paths, replicates=replicates, threads=1
    )
    seconds = (time.process_time() - begin) / replicates
    nodes = [int(np.argmin(abs(solution.time - t))) for t in TIMES]
    risks = solution.replicate_excess_risk[:, nodes]
    relative = risks.std(axis=0, ddof=1) / risks.mean(axis=0)
    last = f"{risks[:, -1].mean():.5f}({risks[:, -1].std(ddof=1) / replicates**0.5:.5f})"
    return [*(f"{value:.2%}" for value in relative), last], seconds


def main() -> None:
    """Print both tables."""
    quick = "--quick" in sys.argv
    print("n_paths | replicates | std at t = 1, 10, 100 | mean at 100 | CPU s per replicate")
    for n_paths, replicates in SIZES.items():
        if quick and n_paths > 512:
            break
        cells, seconds = scatter(dmft.Problem(), n_paths, 4 if quick else replicates)
        print(n_paths, replicates, *cells, f"{seconds:.2f}", sep=" | ", flush=True)
    for alpha in (0.3, 0.01):
        problem = dmft.Problem(network={"init_scale": alpha})
        for name, patch in WITHOUT.items():
            for n_paths in (512,) if quick else (1024, 4096):
                with patch():  # type: ignore[attr-defined]
                    cells, _ = scatter(problem, n_paths, 3 if quick else 16)
                print(f"alpha = {alpha}", name, n_paths, *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
