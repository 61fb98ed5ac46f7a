"""Gram matrices of checkpoints against what cannot be saved: reading, and the matrix product.

Checkpoints of half precision are written to a folder of their own. Tensor by tensor, in turn: their
bytes are read from all files, a product of double matrices of the same shape (and one of single
matrices, whose rounding the measures do not allow) is formed from one block that stays in the
cache, and `trajectory.of_checkpoints` reads, forms double products and does everything else. So a
machine whose speed changes changes all alike.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record

if TYPE_CHECKING:
    from dmft.trajectory.readers.tensor import Tensor

_BLOCK = 4096  # columns of the product
_READ = 2**18  # numbers read at a time


def checkpoints(ledger: Ledger, small: bool = False) -> Record:
    """Seconds of reading, of the product and of the pass, and the ratio."""
    count, tensors, size = (64, 2, 10_000_000) if not small else (8, 2, 20_000)

    def work() -> Record:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), count, tensors, size)
            return measured(Path(folder))

    name = f"checkpoints/{count} of {tensors} x {size}"
    return ledger.measure(name, work)


def write(folder: Path, count: int, tensors: int, size: int) -> None:
    """Safetensors files of a random walk in float16; each tensor has 1000 columns."""
    rng = np.random.default_rng(0)
    theta, change = rng.standard_normal((2, size), dtype=np.float32)
    length = 2 * size
    header = {
        f"layers.{i}.weight": {"dtype": "F16", "shape": [size // 1000, 1000],
                               "data_offsets": [i * length, (i + 1) * length]}
        for i in range(tensors)
    }  # fmt: skip
    text = json.dumps(header).encode()
    for step in range(count):
        theta += 0.03 * np.roll(change, int(rng.integers(size)))
        half = theta.astype(np.float16)
        with (folder / f"step{step}.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for i in range(tensors):
                file.write(np.roll(half, 1009 * i).tobytes())


def measured(folder: Path) -> Record:
    """CPU seconds of each tensor in turn, summed, and the ratio with its spread over tensors."""
    from dmft import trajectory
    from dmft.trajectory.series import open_series

    rows = open_series(folder).rows
    names = list(rows[0])
    block = np.random.default_rng(1).standard_normal((len(rows), _BLOCK))
    trajectory.of_checkpoints(folder, threads=1, include=names[:1])  # loads what is compiled
    table = []
    for name in names:
        read = partial(_read, [row[name] for row in rows])
        read()  # now the system holds the files in memory, alike for all
        work = (
            read,
            partial(_multiply, block, rows[0][name].size),
            partial(_multiply, block.astype(np.float32), rows[0][name].size),
            partial(trajectory.of_checkpoints, folder, threads=1, include=[name]),
        )
        table.append([cpu_seconds(part)[1] for part in work])
    each = np.array(table)
    reading, product, single, seconds = each.sum(axis=0)
    ratios = (each[:, 0] + each[:, 1]) / each[:, 3]
    return {
        "checkpoints": len(rows),
        "parameters": sum(row.size for row in rows[0].values()),
        "read": reading, "product": product, "single_product": single, "seconds": seconds,
        "ratio": (reading + product) / seconds,
        "single_ratio": (reading + single) / seconds,
        "median_ratio": np.median(ratios),
        "ratios": ratios,
    }  # fmt: skip


def _read(tensors: list[Tensor]) -> None:
    room = np.empty(_READ * tensors[0].itemsize, np.uint8)
    for tensor in tensors:
        for start in range(0, tensor.size, _READ):
            tensor.read(start, min(start + _READ, tensor.size), room)


def _multiply(block: np.ndarray, size: int) -> None:
    gram = np.zeros((len(block),) * 2)
    for _ in range(size // _BLOCK):
        gram += block @ block.T
