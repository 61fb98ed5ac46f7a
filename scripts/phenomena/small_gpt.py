"""A small decoder in the layout of GPT-2, and text of a small grammar for it to read."""

from __future__ import annotations

import random

import torch
from torch.nn import functional

CONTEXT = 64
_NOUNS = ["cat", "bird", "farmer", "king"]
_VERBS = ["see", "like", "follow"]
_ADJECTIVES = ["red", "old", "small"]
_RELATIVES = ["who", "that"]
LETTERS = " .abcdefghijklmnopqrstuvwxyz"


def text(length: int, seed: int) -> torch.Tensor:
    """Sentences whose verbs agree with their subjects, as numbers of letters."""
    draw = random.Random(seed)
    out: list[str] = []
    size = 0
    while size < length:
        out.append(_sentence(draw))
        size += len(out[-1])
    return torch.tensor([LETTERS.index(letter) for letter in "".join(out)[:length]])


def _sentence(draw: random.Random) -> str:
    plural = draw.random() < 0.5
    words = _noun(draw, plural)
    if draw.random() < 0.3:
        words += [draw.choice(_RELATIVES), _verb(draw, plural), *_noun(draw, draw.random() < 0.5)]
    if draw.random() < 0.3:
        words += ["are" if plural else "is", draw.choice(_ADJECTIVES)]
    else:
        words += [_verb(draw, plural), *_noun(draw, draw.random() < 0.5)]
    return " ".join(words) + ". "


def _noun(draw: random.Random, plural: bool) -> list[str]:
    determiner = draw.choice(["the", "some", "many"] if plural else ["the", "a", "every"])
    adjective = [draw.choice(_ADJECTIVES)] if draw.random() < 0.4 else []
    return [determiner, *adjective, draw.choice(_NOUNS) + ("s" if plural else "")]


def _verb(draw: random.Random, plural: bool) -> str:
    return draw.choice(_VERBS) + ("" if plural else "s")


class Block(torch.nn.Module):
    """Attention and a perceptron, each behind a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.c_attn = torch.nn.Linear(width, 3 * width)
        self.c_proj = torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        query, key, value = (
            part.view(shape).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).split(width, 2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.ln_2(x))))


class Decoder(torch.nn.Module):
    """Logits of the next letter at every place."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.wte = torch.nn.Embedding(len(LETTERS), width)
        self.wpe = torch.nn.Embedding(CONTEXT, width)
        self.h = torch.nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, len(LETTERS), bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_stream = name.endswith(("c_proj.weight", "down.weight"))
                std = width**-0.5 / (2.0 * layers) ** 0.5 if into_stream else width**-0.5
                torch.nn.init.normal_(parameter, std=0.1 if name[0] == "w" else std)
            elif name.endswith("bias"):
                torch.nn.init.zeros_(parameter)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        x = self.wte(letters) + self.wpe.weight[: letters.shape[1]]
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x))

    def scalars(self) -> list[torch.nn.Parameter]:
        """Scales and shifts: everything that is no matrix."""
        return [parameter for parameter in self.parameters() if parameter.dim() < 2]


def loss_of(net: Decoder, windows: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (nats) of the next letter, windows (batch, CONTEXT + 1)."""
    logits = net(windows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def windows(letters: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random windows of the text, (count, CONTEXT + 1)."""
    starts = torch.randint(len(letters) - CONTEXT, (count,), generator=generator)
    return letters[starts[:, None] + torch.arange(CONTEXT + 1)]


@torch.no_grad()
def judged(net: Decoder, held: torch.Tensor) -> tuple[float, float]:
    """Loss and accuracy on windows that were not trained on."""
    logits = net(held[:, :-1]).flatten(0, 1)
    labels = held[:, 1:].flatten()
    accuracy = (logits.argmax(dim=1) == labels).double().mean()
    return float(functional.cross_entropy(logits, labels)), float(accuracy)
