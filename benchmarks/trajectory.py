"""Does a pass over large checkpoints keep up with the disk and the processor, in little memory?

    python benchmarks/trajectory.py FOLDER [--checkpoints 64] [--parameters 50000000] [--json FILE]

writes float32 checkpoints (12.8 GB by default) below FOLDER, in safetensors format, and measures in
one run

    read       reading all files from end to end, on all cores
    product    the matrix products of the same size on numbers in memory, on all cores
    pass       the Gram matrices of all tensors from the files, in a process of its own

before each of which the system is asked to forget the files. *ratio* is (read + product) / pass:
the pass has to do both, and the differences in double precision besides. It overlaps them, so the
ratio may exceed 1. The exit status is 1 if it is below 0.6, or the memory above 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

LEAST_RATIO, MOST_MEMORY = 0.6, 1.5e9
CORES = len(os.sched_getaffinity(0))
_CHUNK = 2**23
_COLUMNS = 8192


def shapes(parameters: int) -> dict[str, tuple[int, ...]]:
    """A transformer-like model: one large table, several matrices, small vectors."""
    width = max(8, int((parameters / 60) ** 0.5) // 8 * 8)
    table: dict[str, tuple[int, ...]] = {}
    for layer in range(4):
        table[f"layers.{layer}.attention.weight"] = (4 * width, width)
        table[f"layers.{layer}.mlp.weight"] = (8 * width, width)
        table[f"layers.{layer}.norm.weight"] = (width,)
    rest = parameters - sum(int(np.prod(shape)) for shape in table.values())
    return {"embedding.weight": (rest // width, width), **table}


def write(folder: Path, count: int, parameters: int) -> int:
    """Checkpoints of a random walk whose steps are 1e-3 of its start; bytes written."""
    rng = np.random.default_rng(0)
    table = shapes(parameters)
    total = sum(int(np.prod(shape)) for shape in table.values())
    theta = rng.standard_normal(total, dtype=np.float32)
    header, start = {}, 0
    for name, shape in table.items():
        stop = start + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    step = rng.standard_normal(2**20, dtype=np.float32) * np.float32(1e-3)
    for i in range(count):
        with (folder / f"step{i}.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.write(theta.data)
            os.fsync(file.fileno())
        # The same numbers in another order are as good as new ones, and cheaper.
        for a in range(0, total, len(step)):
            theta[a : a + len(step)] += np.roll(step, i * 7919 + a)[: total - a]
    return count * 4 * total


def forget(folder: Path) -> None:
    """Ask the system to drop the files from its memory."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_all(folder: Path) -> float:
    """Seconds to read every file, one file per core at a time."""

    def read(path: Path) -> None:
        buffer = bytearray(_CHUNK)
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    began = perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(read, sorted(folder.iterdir())))
    return perf_counter() - began


def multiply_all(count: int, parameters: int) -> float:
    """Seconds for the symmetric products X X^T, X of shape (count, parameters) in float64."""
    block = np.random.default_rng(1).standard_normal((count, _COLUMNS))

    def multiply(blocks: int) -> None:
        gram = np.zeros((count, count))
        for _ in range(blocks):
            gram += block @ block.T

    blocks = -(-parameters // _COLUMNS)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(CORES) as pool:
        began = perf_counter()
        list(pool.map(multiply, [blocks // CORES + 1] * CORES))
        return perf_counter() - began


def one_pass(folder: Path) -> None:
    """What the child process does: the pass, its seconds and its peak memory as JSON."""
    from dmft import trajectory

    began = perf_counter()
    grams = trajectory.of_checkpoints(folder)
    seconds = perf_counter() - began
    path = grams.trajectory()
    print(json.dumps({
        "seconds": seconds,
        "bytes": grams.computed,
        "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "similarity": path.similarity(),
        "length": path.scalars["length"][0],
    }))  # fmt: skip


def measure(folder: Path, count: int, parameters: int) -> dict[str, Any]:
    """The three times and their ratio."""
    size = write(folder, count, parameters)
    forget(folder)
    read = read_all(folder)
    product = multiply_all(count, parameters)
    forget(folder)
    answer = subprocess.run(
        [sys.executable, __file__, str(folder), "--child"], check=True, capture_output=True
    )
    child = json.loads(answer.stdout)
    assert child["bytes"] == size, "every byte is read once"
    ratio = (read + product) / child["seconds"]
    return {"bytes": size, "read": read, "product": product, "ratio": ratio, **child}


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", type=int, default=64)
    parser.add_argument("--parameters", type=int, default=50_000_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        one_pass(arguments.folder)
        return 0
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        result = measure(folder, arguments.checkpoints, arguments.parameters)
    finally:
        shutil.rmtree(folder)
    for name in ("read", "product", "seconds"):
        rate = result["bytes"] / result[name] / 1e9
        print(f"{name if name != 'seconds' else 'pass':<10}{result[name]:8.1f} s {rate:8.2f} GB/s")
    print(f"ratio     {result['ratio']:8.2f}   (at least {LEAST_RATIO})")
    print(f"memory    {result['memory'] / 1e9:8.2f} GB (at most {MOST_MEMORY / 1e9})")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result))
    return int(result["ratio"] < LEAST_RATIO or result["memory"] > MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
