"""What the settings of training do to the trajectory of a small network on real images.

A perceptron with one hidden layer learns the 8 x 8 digits that scikit-learn packages. Momentum,
weight decay, step size and batch size are changed one at a time, each over several seeds, and the
mean directional similarity omega of the checkpoints is measured. Weight decay lets the start be
forgotten and momentum carries the path further from it: both lower omega, which also falls with
the step size; smaller batches add noise that turns the updates against each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone
from sklearn.datasets import load_digits

from dmft import trajectory

SMALL: dict[str, Any] = {
    "hidden": 32, "steps": 200, "seeds": 3, "checkpoints": 16,
    "default": {"step_size": 0.1, "momentum": 0.0, "weight_decay": 0.0, "batch": 128},
    "changes": {
        "step_size": [0.02, 0.2],
        "momentum": [0.0, 0.9],
        "weight_decay": [0.0, 0.1],
        "batch": [8, 512],
    },
}  # fmt: skip
FULL = {
    **SMALL, "hidden": 128, "steps": 1000, "seeds": 6, "checkpoints": 40,
    "changes": {
        "step_size": [0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
        "momentum": [0.0, 0.5, 0.8, 0.9, 0.95],
        "weight_decay": [0.0, 3e-3, 1e-2, 3e-2, 1e-1],
        "batch": [4, 16, 64, 256, 1024],
    },
}  # fmt: skip
LABELS = {
    "step_size": "step size", "momentum": "momentum", "weight_decay": "weight decay",
    "batch": "batch size",
}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """Train a network for every setting and seed."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome(
        "Trajectories and the settings of training", __doc__ or "", config, figure_path
    )
    figure, axes = new_figure(
        4, "Digits, one hidden layer: mean directional similarity of the weights"
    )
    images, labels = _digits()
    for place, (name, values) in zip(axes, config["changes"].items(), strict=True):
        table = np.array([
            [_measure({**config["default"], name: value}, config, seed, images, labels)
             for seed in range(config["seeds"])]
            for value in values
        ])  # fmt: skip
        mean = table.mean(axis=1)
        error = table.std(axis=1, ddof=1) / config["seeds"] ** 0.5
        for column, (label, marker) in enumerate((("$\\omega$", "o"), ("straightness", "s"))):
            place.errorbar(
                np.arange(len(values)), mean[:, column], 2 * error[:, column], fmt=f"{marker}-",
                color=COLOURS[column], capsize=3, label=label,
            )  # fmt: skip
        place.set_xticks(np.arange(len(values)), [f"{value:g}" for value in values])
        place.set(xlabel=LABELS[name], ylim=(0.0, 1.05))
        change = mean[-1, 0] - mean[0, 0]
        score = change / np.hypot(error[-1, 0], error[0, 0])
        # Larger batches have less noise and a higher similarity, everything else lowers it.
        low, high = (-np.inf, -2.0) if name != "batch" else (-np.inf, np.inf)
        outcome.check(f"{LABELS[name]}: change of omega, in errors", score, low, high)
        turn = (mean[-1, 2] - mean[0, 2]) / np.hypot(error[-1, 2], error[0, 2])
        if name == "batch":
            outcome.check(
                "batch size: change of the mean update angle, in errors", turn, -np.inf, -2
            )
        outcome.check(f"{LABELS[name]}: least accuracy of a network", table[..., 3].min(), 0.4, 1)
    axes[0].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _measure(
    settings: dict[str, float], config: dict[str, Any], seed: int, images: Any, labels: Any
) -> tuple[float, float, float, float]:
    """omega, straightness, mean update angle and training accuracy of one network."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    hidden = config["hidden"]
    net = torch.nn.Sequential(
        torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)
    )
    optimiser = torch.optim.SGD(
        net.parameters(), lr=settings["step_size"], momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )  # fmt: skip
    wanted = set(np.linspace(0, config["steps"], config["checkpoints"]).astype(int).tolist())
    theta = []
    for step in range(config["steps"] + 1):
        if step in wanted:
            theta.append(torch.cat([p.detach().ravel() for p in net.parameters()]).double().numpy())
        batch = torch.randint(len(images), (int(settings["batch"]),), generator=generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimiser.step()
    path = trajectory.of_arrays(np.array(theta), step=sorted(wanted))
    with torch.no_grad():
        accuracy = (net(images).argmax(dim=1) == labels).double().mean()
    names = ("mean_directional_similarity", "straightness", "mean_update_angle")
    return *(path.scalars[name][0] for name in names), float(accuracy)  # type: ignore[return-value]


def _digits() -> tuple[Any, Any]:
    data = load_digits()
    images = torch.tensor(data.data / 16.0 - 0.3, dtype=torch.float32)
    return images, torch.tensor(data.target)


if __name__ == "__main__":
    run_alone(run, "trajectory_training", __doc__)
