"""Low-rank adapters of PEFT, as the weights that they add: scale B A (Hu et al., arXiv:2106.09685).

The factors themselves are not comparable between checkpoints, since B A is all that the model sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.texts import parse_json, read_text
from dmft.trajectory.readers.formats import file_tensors
from dmft.trajectory.readers.tensor import Shelf, Tensor, Whole, as_float

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_A, _B = (".lora_A", ".lora_embedding_A"), (".lora_B", ".lora_embedding_B")


def weights_of(folder: Path) -> Path:
    """The file of the factors.

    Raises
    ------
    InputError : none there.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"holds {CONFIG} without {WEIGHTS[0]}", str(folder))


def read(folder: Path) -> tuple[list[Tensor], dict[str, str]]:
    """The added weights by the name of the module, and tensors that were trained whole.

    Raises
    ------
    InputError : adapters of another kind, or factors that do not fit.
    """
    path = weights_of(folder)
    config = _config(folder)
    tensors = {tensor.name: tensor for tensor in file_tensors(path)}
    shelf, found = Shelf(), []
    for name, tensor in tensors.items():
        if "lora_magnitude_vector" in name:
            raise InputError("holds weight-decomposed adapters (DoRA), merge them first", str(path))
        second = next((name.replace(a, b, 1) for a, b in zip(_A, _B, strict=True) if a in name), "")
        if second:
            if second not in tensors:
                raise InputError(f"holds '{name}' without '{second}'", str(path))
            found.append(_product(name, tensor, tensors[second], config, shelf))
        elif not any(word in name for word in _B):
            found.append(tensor)
    return found, {"factors of the adapters": "taken as their product"}


def _config(folder: Path) -> dict[str, object]:
    path = folder / CONFIG
    try:
        config = parse_json(read_text(path))
        kind = config["peft_type"]
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("is no configuration of an adapter", str(path)) from None
    if kind != "LORA":
        raise InputError(f"is of kind {kind}, allowed: LORA", str(path))
    if config.get("alpha_pattern"):
        raise InputError("has an alpha_pattern, merge the adapters first", str(path))
    return dict(config)


def _product(
    name: str, first: Tensor, second: Tensor, config: dict[str, object], shelf: Shelf
) -> Tensor:
    rank = first.shape[0]
    alpha = float(str(config.get("lora_alpha", rank)))
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if len(first.shape) != 2 or len(second.shape) != 2 or second.shape[1] != rank:
        raise InputError(
            f"holds factors of shapes {first.shape} and {second.shape} of '{name}', must be "
            "matrices of one rank",
            str(first.path),
        )
    shape = (second.shape[0], first.shape[1])
    short = next(name.replace(word, "", 1) for word in _A if word in name)
    whole = Whole(_loader(first, second, scale), shelf)
    return Tensor(first.path, short, shape, "float64", whole=whole)


def _loader(first: Tensor, second: Tensor, scale: float) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        return scale * (_matrix(second) @ _matrix(first))

    return load


def _matrix(tensor: Tensor) -> np.ndarray:
    buffer = np.empty(tensor.size * tensor.itemsize, np.uint8)
    values = as_float(tensor.read(0, tensor.size, buffer), tensor.dtype)
    return np.asarray(values, dtype=np.float64).reshape(tensor.shape)
