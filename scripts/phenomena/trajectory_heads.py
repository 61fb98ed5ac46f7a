"""Queries and keys of a small transformer travel differently from values, and heads differ.

Transformers of three widths learn to predict the next of a sequence of digits that alternates
between copying and counting. Their checkpoints are written as PyTorch state dicts and read back
like those of anybody else, with queries, keys and values of every head apart. The mean directional
similarity varies between heads by far more than its errors.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone

from dmft import trajectory

SMALL: dict[str, Any] = {
    "widths": [16, 32], "heads": 4, "layers": 1, "steps": 250, "checkpoints": 12,
}  # fmt: skip
FULL = {"widths": [32, 64, 128], "heads": 4, "layers": 2, "steps": 1500, "checkpoints": 40}
_TOKENS, _LENGTH = 16, 16
_PROJECTIONS = ("query", "key", "value")


def run(full: bool, figure_path: Path) -> Outcome:
    """Train one transformer per width, measure its heads."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome("Heads of transformers", __doc__ or "", config, figure_path)
    figure, axes = new_figure(len(config["widths"]), "Mean directional similarity of every head")
    for place, width in zip(axes, config["widths"], strict=True):
        with tempfile.TemporaryDirectory() as folder:
            first, last = _train(width, config, Path(folder))
            grams = trajectory.of_checkpoints(folder, heads=config["heads"])
        heads = grams.groups("head")
        spread, noise = [], []
        for number, name in enumerate(_PROJECTIONS):
            chosen = [path for label, path in heads.items() if f" {name} head" in label]
            pairs = [path.scalars["mean_directional_similarity"] for path in chosen]
            value = np.array([pair[0] for pair in pairs])
            error = np.array([pair[1] for pair in pairs])
            at = np.arange(len(value)) + 0.2 * (number - 1)
            place.errorbar(
                at,
                value,
                2 * error,
                fmt="os^"[number],
                color=COLOURS[number],
                capsize=2,
                label=name,
            )
            spread.append(value.std(ddof=1))
            noise.append(np.sqrt(np.mean(error**2)))
        place.axhline(grams.trajectory().similarity(), color=COLOURS[6], linestyle=":", label="all")
        place.set(title=f"width {width}", xlabel="head (layer by layer)")
        outcome.check(
            f"width {width}: loss at the end over that at the start", last / first, 0, 0.9
        )
        outcome.check(f"width {width}: heads, 3 projections of each", len(heads),
                      *[3 * config["heads"] * config["layers"]] * 2)  # fmt: skip
        ratio = np.max(np.array(spread) / np.array(noise))
        outcome.check(f"width {width}: spread over heads / error, largest", ratio, 1.2, np.inf)
    axes[0].set_ylabel("similarity $\\omega$ (bars: ±2 standard errors)")
    axes[0].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _train(width: int, config: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Loss at start and end; the checkpoints are in the folder."""
    torch.manual_seed(width)
    net = _Transformer(width, config["heads"], config["layers"])
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    wanted = set(np.linspace(0, config["steps"], config["checkpoints"]).astype(int).tolist())
    losses = []
    for step in range(config["steps"] + 1):
        if step in wanted:
            torch.save(net.state_dict(), folder / f"step{step}.pt")
        tokens = _sequences(64)
        loss = torch.nn.functional.cross_entropy(
            net(tokens[:, :-1]).reshape(-1, _TOKENS), tokens[:, 1:].reshape(-1)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses[:5])), float(np.mean(losses[-5:]))


def _sequences(count: int) -> torch.Tensor:
    """The first half is random, the second repeats it, or repeats it shifted by one symbol."""
    half = torch.randint(1, _TOKENS - 1, (count, _LENGTH // 2))
    shift = torch.randint(0, 2, (count, 1))
    half[:, :1] = shift * (_TOKENS - 1)
    return torch.cat([half, (half + shift) % _TOKENS], dim=1)


class _Transformer(torch.nn.Module):
    """Decoder of PyTorch's own layers, whose attention has a fused in_proj_weight."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(_TOKENS, width)
        self.place = torch.nn.Parameter(0.1 * torch.randn(_LENGTH, width))
        layer = torch.nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True
        )
        self.body = torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = torch.nn.Linear(width, _TOKENS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = torch.nn.Transformer.generate_square_subsequent_mask(length)
        inside = self.embed(tokens) + self.place[:length]
        return self.head(self.body(inside, mask=mask, is_causal=True))


if __name__ == "__main__":
    run_alone(run, "trajectory_heads", __doc__)
