"""Inputs to trace a model with: shapes matter, values do not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
_SIZES = (4, 8, 16, 28, 32, 64, 224)
_MAX_REQUIRED = 3


def guesses(model: torch.nn.Module) -> Iterator[list[Inputs]]:
    """Sets of inputs to try in turn; of the first set in which some run, all that run count."""
    if type(model).__module__.startswith("transformers.") or hasattr(model, "config"):
        yield from ([one] for one in _transformers(model))
    required = _required(model)
    for alternatives in _plain(model):
        yield [((one,) * required, {}) for one in alternatives]


def _required(model: torch.nn.Module) -> int:
    given = inspect.signature(model.forward).parameters.values()
    names = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
             and p.default is p.empty]  # fmt: skip
    return min(max(len(names), 1), _MAX_REQUIRED)


def _plain(model: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """By the first layers whose inputs have a known size."""
    import torch

    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    seen: list[tuple[str, int]] = []
    for module in model.modules():
        kind = type(module).__name__
        size = 0
        for attribute in ("in_features", "in_channels", "embed_dim", "input_size", "d_model",
                          "num_features"):  # fmt: skip
            value = getattr(module, attribute, None)
            if isinstance(value, int) and value > 0:
                size = value
                break
        shape = getattr(module, "normalized_shape", None)
        if not size and isinstance(shape, tuple) and len(shape) == 1:
            size = shape[0]
        if isinstance(module, (torch.nn.Embedding, torch.nn.EmbeddingBag)):
            kind, size = "Embedding", module.num_embeddings
        if size and (kind, size) not in seen:
            seen.append((kind, size))
    widths = [p.shape[-1] for p in model.parameters() if p.ndim]
    widths += [p.shape[0] for p in model.parameters() if p.ndim]
    seen += [("Linear", n) for n in dict.fromkeys(widths) if ("Linear", n) not in seen]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float32).to(dtype)

    for kind, n in seen[:12]:
        dims = next((d for d in (1, 2, 3) if kind.endswith(f"{d}d")), 0)
        if kind == "Embedding":
            yield [torch.randint(n, (2, 5))]
        elif "Conv" in kind and dims:
            for size in _SIZES[: 3 if dims == 3 else 7]:
                yield [draw(2, n, *[size] * dims)]
        elif "Norm" in kind and dims:
            yield [draw(2, n, *[4] * (dims if dims > 1 else d)) for d in (0, 1)]
        else:
            yield [draw(2, n), draw(2, 3, n), draw(2, 3, 4, n)]


def _transformers(model: Any) -> Iterator[Inputs]:
    import torch

    config = model.config
    names = {  # a subclass may hide them behind *args and **kwargs
        name for kind in type(model).__mro__ if "forward" in vars(kind)
        for name in inspect.signature(vars(kind)["forward"]).parameters
    }  # fmt: skip
    settings: dict[str, Any] = {}
    if "use_cache" in names:
        settings["use_cache"] = False
    text = getattr(config, "text_config", None) or config
    if hasattr(config, "get_text_config"):
        text = config.get_text_config()
    vision = getattr(config, "vision_config", None) or config
    vocabulary = getattr(text, "vocab_size", None) or 2

    def ids(tokens: int) -> torch.Tensor:
        return torch.randint(min(2, vocabulary - 1), vocabulary, (2, tokens))

    size = getattr(vision, "image_size", None) or 32
    sizes = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(vision, "num_channels", None) or getattr(vision, "in_channels", None) or 3
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    pixels = torch.randn(2, channels, *sizes, dtype=torch.float32).to(dtype)
    main = getattr(model, "main_input_name", "input_ids")
    options: list[dict[str, Any]] = []
    if "pixel_values" in names and "input_ids" in names:
        options.append({"input_ids": ids(6), "pixel_values": pixels})
    if main == "pixel_values" or "pixel_values" in names:
        options.append({"pixel_values": pixels})
    if "input_ids" in names:
        places = getattr(text, "max_position_embeddings", None) or 64
        places = places if isinstance(places, int) and places > 0 else 64
        for tokens in dict.fromkeys(min(n, places) for n in (12, 64, 256, 6, 3)):
            options.append({"input_ids": ids(tokens)})  # noqa: PERF401
    if "input_values" in names:
        options += [{"input_values": torch.randn(2, n).to(dtype)} for n in (800, 4000, 16000)]
        mel = getattr(config, "num_mel_bins", 16)
        options.append({
            "input_values": torch.randn(2, getattr(config, "max_length", 64), mel).to(dtype)
        })  # fmt: skip
    if "input_features" in names:
        mel = getattr(config, "num_mel_bins", None) or getattr(
            config, "feature_projection_input_dim", None) or getattr(
            config, "input_feat_per_channel", None) or 16  # fmt: skip
        long = 2 * (getattr(config, "max_source_positions", None) or 32)
        options.append({"input_features": torch.randn(2, mel, long).to(dtype)})
        options.append({"input_features": torch.randn(2, 32, mel).to(dtype)})
    for option in options:
        if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
            yield (), {**option, **settings, "decoder_input_ids": ids(4)}
        yield (), {**option, **settings}
