"""The tensors in what a model returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_OUTPUTS_LEFT_OUT = (
    "past_key_values", "hidden_states", "attentions", "decoder_hidden_states",
    "decoder_attentions", "cross_attentions", "encoder_hidden_states", "encoder_attentions",
)  # fmt: skip


def outputs_of(out: Any, label: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors that a model returns, with their names; caches and states left out."""
    import torch

    if isinstance(out, torch.Tensor):
        if out.is_floating_point():
            yield label, out
    elif isinstance(out, Mapping):
        for key, one in out.items():
            if key not in _OUTPUTS_LEFT_OUT:
                yield from outputs_of(one, str(key))
    elif isinstance(out, (list, tuple)):
        for one in out:
            yield from outputs_of(one, label)
    elif hasattr(out, "__dict__") and not isinstance(out, (str, int, float)):
        for one in vars(out).values():
            yield from outputs_of(one, label)


def tensors_in(something: Any) -> Iterator[Any]:
    """All tensors in lists of lists."""
    import torch

    if isinstance(something, torch.Tensor):
        yield something
    elif isinstance(something, (list, tuple)):
        for one in something:
            yield from tensors_in(one)
