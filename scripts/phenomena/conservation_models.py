"""The models, data and training runs of the experiments on conservation laws."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import transformers

from dmft.conservation import laws, track
from dmft.conservation.models import ModelLaws, Record

transformers.logging.set_verbosity_error()
Batches = Callable[[torch.Generator], Iterator[Any]]


class Block(nn.Module):
    """Residual branch of two convolutions with batch normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first = nn.BatchNorm2d(width)
        self.outer = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.first(self.inner(x)))
        return torch.relu(x + self.second(self.outer(y)))


class ResNet(nn.Module):
    """Stem, two residual blocks, mean over the image, linear head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Any) -> Any:
        x = self.blocks(torch.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


def make(name: str, width: int, layers: int) -> nn.Module:
    """A model by the name of its kind, with random weights."""
    if name == "ResNet":
        return ResNet(width // 2)
    if name == "ViT":
        config = transformers.ViTConfig(
            hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
            intermediate_size=2 * width, image_size=8, patch_size=2, num_channels=1, num_labels=10,
            initializer_range=0.1,
        )  # fmt: skip
        return transformers.ViTForImageClassification(config)
    words = len(_text()[1])
    if name == "GPT-2":
        config = transformers.GPT2Config(
            vocab_size=words, n_positions=64, n_embd=width, n_layer=layers, n_head=2,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config)
    shared = {
        "vocab_size": words, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": width // 2,
        "intermediate_size": 2 * width, "max_position_embeddings": 64, "bos_token_id": None,
        "eos_token_id": None, "tie_word_embeddings": False,
    }  # fmt: skip
    if name == "Qwen 3":
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shared))
    assert name == "Qwen 3 MoE"
    config = transformers.Qwen3MoeConfig(
        **shared, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=width,
        norm_topk_prob=True, mlp_only_layers=[],
    )  # fmt: skip
    return transformers.Qwen3MoeForCausalLM(config)


MODELS = ("ResNet", "ViT", "GPT-2", "Qwen 3", "Qwen 3 MoE")


@cache
def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images / 16.0 - 0.3, dtype=torch.float32)[:, None]
    return images, torch.tensor(data.target)


@cache
def _text() -> tuple[Any, list[str]]:
    """The reference pages that come with Python, as numbers of characters."""
    from pydoc_data.topics import topics

    text = "".join(topics[key] for key in sorted(topics))[:400_000]
    letters = sorted(set(text))
    place = {letter: i for i, letter in enumerate(letters)}
    return torch.tensor([place[letter] for letter in text]), letters


def batch_loss(name: str, model: Any, size: int, generator: torch.Generator) -> Any:
    """Cross-entropy of the model on a random batch of its data."""
    kind = next(model.parameters()).dtype
    if name in ("ResNet", "ViT"):
        images, labels = _digits()
        chosen = torch.randint(len(images), (size,), generator=generator)
        x = images[chosen].to(kind)
        logits = model(x) if name == "ResNet" else model(pixel_values=x).logits
        return nn.functional.cross_entropy(logits, labels[chosen])
    text, _ = _text()
    tokens = 32
    starts = torch.randint(len(text) - tokens - 1, (size,), generator=generator)
    windows = torch.stack([text[s : s + tokens + 1] for s in starts.tolist()])
    logits = model(input_ids=windows[:, :-1]).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def train(
    name: str, optimizer: Callable[[Any], torch.optim.Optimizer], *, steps: int, seed: int,
    width: int, layers: int, batch: int, every: int, double: bool = False,
) -> tuple[ModelLaws, Record, float, float]:  # fmt: skip
    """Train a model under a tracker; returns its laws, the record, first and last loss."""
    from dmft.conservation.models.checks import in_double

    torch.manual_seed(seed)
    model = make(name, width, layers)
    model = (model.double() if double else model).train()
    generator = torch.Generator().manual_seed(seed)
    _leave_the_start(model, generator)
    found = laws(model, loss="cross-entropy")
    opt = optimizer(model.parameters())
    losses = []
    with track(model, opt, laws=found, every=every) as tracker:
        for _ in range(steps):
            opt.zero_grad()
            if double:
                with in_double():
                    loss = batch_loss(name, model, batch, generator)
                    loss.backward()
            else:
                loss = batch_loss(name, model, batch, generator)
                loss.backward()
            opt.step()
            losses.append(float(loss.detach()))
    tail = max(1, steps // 10)
    return found, tracker.record(), losses[0], math.fsum(losses[-tail:]) / tail


def _leave_the_start(model: nn.Module, generator: torch.Generator) -> None:
    """Add noise, since biases that start at zero have no relative drift."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.05 * noise.to(parameter.dtype))
