"""After some epochs, training the normalisation scalars alone goes on almost as well.

A small convolutional network with batch normalisation learns the packaged 8 x 8 digits. From a
switch epoch on, everything but the scales and shifts of its normalisations is frozen, less than
one percent of a full-size network's parameters. Switched late, the network ends at the accuracy of
full training: the directions were found early, and the rest of the trajectory is redundant.
Switched at the start, random features remain and the accuracy stays behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone
from sklearn.datasets import load_digits

SMALL: dict[str, Any] = {
    "channels": 8, "epochs": 6, "switches": [0, 3, 6], "seeds": 3, "samples": 600,
}  # fmt: skip
FULL = {
    "channels": 16, "epochs": 20, "switches": [0, 1, 2, 4, 8, 12, 20], "seeds": 5, "samples": 1200,
}  # fmt: skip
_TESTED = 597


def run(full: bool, figure_path: Path) -> Outcome:
    """Train to the end with every switch epoch and seed."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome(
        "Training the normalisation alone after a switch", __doc__ or "", config, figure_path
    )
    figure, axes = new_figure(2, "Digits, two convolutions with batch normalisation")
    table = np.array([
        [_train(switch, config, seed) for seed in range(config["seeds"])]
        for switch in config["switches"]
    ])  # fmt: skip
    mean = table.mean(axis=1)
    error = table.std(axis=1, ddof=1) / config["seeds"] ** 0.5
    for column, (place, label) in enumerate(
        zip(axes, ("test accuracy", "training loss"), strict=True)
    ):
        place.errorbar(
            config["switches"], mean[:, column], 2 * error[:, column], fmt="o-", capsize=3,
            color=COLOURS[column],
        )  # fmt: skip
        place.axhline(mean[-1, column], color=COLOURS[6], linestyle=":", label="full training")
        place.set(xlabel="epoch from which only normalisation is trained", ylabel=label)
        place.legend(fontsize=8)
    axes[1].set_yscale("log")
    middle = len(config["switches"]) // 2
    outcome.check("test accuracy of full training", mean[-1, 0], 0.85, 1)
    outcome.check("loss of accuracy, switched half-way", mean[-1, 0] - mean[middle, 0], -0.05, 0.08)
    outcome.check("loss of accuracy, switched at the start", mean[-1, 0] - mean[0, 0], 0.05, 1)
    outcome.check("share of the scalars among the parameters", table[0, 0, 2], 0, 0.05)
    figure.savefig(figure_path)
    return outcome


def _train(switch: int, config: dict[str, Any], seed: int) -> tuple[float, float, float]:
    """Test accuracy, training loss and the share of normalisation scalars."""
    torch.manual_seed(seed)
    data = load_digits()
    order = torch.randperm(len(data.data), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images / 16.0, dtype=torch.float32)[order][:, None]
    labels = torch.tensor(data.target)[order]
    seen, held = slice(0, config["samples"]), slice(len(labels) - _TESTED, None)
    net = _network(config["channels"])
    scalars = [p for m in net if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(config["epochs"]):
        if epoch == switch:
            net.requires_grad_(False)
            for p in scalars:
                p.requires_grad_(True)
            optimiser = torch.optim.SGD(scalars, lr=0.05, momentum=0.9)
        for batch in torch.randperm(config["samples"]).split(50):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net(images[held]).argmax(dim=1) == labels[held]).double().mean()
        loss = torch.nn.functional.cross_entropy(net(images[seen]), labels[seen])
    total = sum(p.numel() for p in net.parameters())
    return float(accuracy), float(loss), sum(p.numel() for p in scalars) / total


def _network(channels: int) -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, channels, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(channels),
        torch.nn.ReLU(),
        torch.nn.Conv2d(channels, 2 * channels, 3, padding=1, stride=2, bias=False),
        torch.nn.BatchNorm2d(2 * channels),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * channels, 10),
    )


if __name__ == "__main__":
    run_alone(run, "trajectory_normalisation", __doc__)
