"""Checkpoints of a small made-up model in every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SHAPES = {
    "embed.weight": (50, 12),
    "layers.0.attn.q_proj.weight": (12, 12),
    "layers.0.mlp.weight": (24, 12),
    "layers.0.mlp.bias": (24,),
    "layers.1.attn.q_proj.weight": (12, 12),
    "layers.1.mlp.weight": (24, 12),
    "layers.1.mlp.bias": (24,),
    "scale": (),
}


def as_safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Written by hand from the description of the format."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    types = {"float32": "F32", "float64": "F64", "float16": "F16", "uint16": "BF16", "int64": "I64"}
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": types[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def model():
    """The checkpoints of a walk, as float64: a list of {name: array}."""

    def make(count=6, seed=0, scale=0.1, shapes=SHAPES):
        rng = np.random.default_rng(seed)
        theta = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        walk = []
        for _ in range(count):
            walk.append(dict(theta))
            theta = {
                name: values + scale * rng.standard_normal(values.shape)
                for name, values in theta.items()
            }
        return walk

    return make


@pytest.fixture
def write(tmp_path):
    """Write checkpoints as .npz files step-0.npz, step-10.npz, ... of a folder."""

    def write(walk, folder="run", first=0, dtype=np.float64):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for i, arrays in enumerate(walk, start=first):
            np.savez(
                place / f"step-{10 * i}.npz", **{k: v.astype(dtype) for k, v in arrays.items()}
            )
        return place

    return write


def flat(walk, names=None):
    """The checkpoints as one array (T, P)."""
    return np.array([
        np.concatenate([np.ravel(arrays[name]) for name in names or arrays]) for arrays in walk
    ])  # fmt: skip
