"""Parallel efficiency of a sweep of small solves.

    python benchmarks/sweep.py [--points 200] [--jobs 2] [--json FILE]

The points are solved one after another in one process, then by `jobs` workers. The efficiency is
the time alone over `jobs` times the time of the sweep. Wall-clock time says what it should on a
quiet machine only; on a busy one the ratio of CPU times says what the sweep adds to the work, and
the share of the time that workers were busy says what they waited. Kernels are compiled before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dmft.sweep import open_folder

GRID = """
[base.solver]
t_max = 5.0
n_paths = 256
replicates = 2
rtol = 1e-2
[axes]
problem.noise_std = {{ linspace = [0.1, 0.5, {count}] }}
problem.network.init_scale = {{ geomspace = [0.1, 1.0, 10] }}
"""


def timed(*arguments: object) -> float:
    """Wall-clock seconds of a command."""
    start = time.monotonic()
    command = [sys.executable, "-m", "dmft", "sweep", *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.monotonic() - start


def spent(folder: Path, key: str) -> float:
    """Seconds that workers spent on points, by their logs."""
    lines = [path.read_text(encoding="utf-8") for path in (folder / "log").glob("*.jsonl")]
    return float(sum(json.loads(line)[key] for text in lines for line in text.splitlines()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "grid.toml").write_text(GRID.format(count=arguments.points // 10))
        for name in ("warm", "alone", "sweep"):
            timed("init", home / "grid.toml", home / name)
        timed("run", home / "warm", "--index", 0, "--threads", 1)  # compile
        count = len(open_folder(home / "alone").grid.points)
        alone = timed("run", home / "alone", "--index", 0, "--chunk", count, "--threads", 1)
        sweep = timed("run", home / "sweep", "--jobs", arguments.jobs)
        cpu = spent(home / "alone", "cpu_seconds"), spent(home / "sweep", "cpu_seconds")
        result = {
            "points": count,
            "jobs": arguments.jobs,
            "alone_seconds": alone,
            "sweep_seconds": sweep,
            "alone_cpu_seconds": cpu[0],
            "sweep_cpu_seconds": cpu[1],
            "efficiency": alone / (arguments.jobs * sweep),
            "cpu_efficiency": cpu[0] / cpu[1],
            "busy_share": spent(home / "sweep", "seconds") / (arguments.jobs * sweep),
        }
    for name, value in result.items():
        print(f"{name:<20}{value:.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
