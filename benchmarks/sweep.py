"""Parallel efficiency of a sweep, and the time that large grids take to plan and to collect.

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
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
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


def timed(*arguments: object) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a command and its workers."""
    start, used = time.monotonic(), _cpu_seconds()
    command = [sys.executable, "-m", "dmft", "sweep", *map(str, arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.monotonic() - start, _cpu_seconds() - used


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def busy_share(folder: Path, jobs: int) -> float:
    """Time that workers spent on points, over the time between the first start and the last end."""
    spent: dict[str, float] = defaultdict(float)
    first, last = float("inf"), 0.0
    for path in (folder / "log").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            spent[path.name] += event["seconds"]
            first = min(first, event["time"] - event["seconds"])
            last = max(last, event["time"])
    return sum(spent.values()) / (jobs * (last - first))


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
        result = {
            "points": count,
            "jobs": arguments.jobs,
            "alone_seconds": alone[0],
            "alone_cpu_seconds": alone[1],
            "sweep_seconds": sweep[0],
            "sweep_cpu_seconds": sweep[1],
            "efficiency": alone[0] / (arguments.jobs * sweep[0]),
            "cpu_efficiency": alone[1] / sweep[1],
            "busy_share": busy_share(home / "sweep", arguments.jobs),
            "status_cpu_seconds": timed("status", home / "sweep")[1],
        }
    for name, value in result.items():
        print(f"{name:<20}{value:.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
