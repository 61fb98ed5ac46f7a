"""Small language models: width, momentum, weight decay, and training scalars alone at the end.

Decoders in the layout of GPT-2 learn to spell the sentences of a small grammar. From their
checkpoints: how the mean directional similarity of queries, keys and values of each layer depends
on width; what momentum and weight decay of AdamW do to similarity and angles; and how much is lost
when, late in training, only normalisations and biases go on. Error bars are over seeds.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone
from small_gpt import Decoder, judged, loss_of, text, windows

from dmft import trajectory

SMALL: dict[str, Any] = {
    "widths": [32, 64, 128], "layers": 2, "heads": 4, "steps": 120, "checkpoints": 16,
    "batch": 8, "seeds": 4, "step_size": 8e-3,
    "momenta": [0.0, 0.9, 0.97], "decays": [0.0, 0.5, 2.0],
    "long": 400, "switches": [200, 300, 360], "long_step_size": 2e-2,
}  # fmt: skip
FULL = {
    **SMALL, "layers": 3, "steps": 1200, "checkpoints": 60, "batch": 16, "seeds": 8,
    "long": 4000, "switches": [500, 1000, 2000, 3000, 3600],
}  # fmt: skip
_PROJECTIONS = ("query", "key", "value")
_NUMBERS = ("mean_directional_similarity", "mean_update_angle", "straightness")


def run(full: bool, figure_path: Path) -> Outcome:
    """Train all models, measure their checkpoints."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome("Trajectories of small GPTs", __doc__ or "", config, figure_path)
    figure, axes = new_figure(4, "Decoders on sentences of a small grammar (bars: ±2 errors)")
    letters = text(200_000, seed=0)
    held = windows(text(20_000, seed=1), 128, torch.Generator().manual_seed(0))
    _widths(config, letters, held, axes[0], outcome)
    _grid(config, letters, axes[1:3], outcome)
    _scalars(config, letters, held, axes[3], outcome)
    figure.savefig(figure_path)
    return outcome


def mean_of(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the last axis, seeds."""
    table = np.asarray(values)
    return table.mean(axis=-1), table.std(axis=-1, ddof=1) / table.shape[-1] ** 0.5


# ---------------------------------------------------------------------- width


def _widths(config: Any, letters: Any, held: Any, place: Any, outcome: Outcome) -> None:
    layers, seeds = config["layers"], range(config["seeds"])
    similarity, spread, losses = [], [], []
    for width in config["widths"]:
        of_width = [_measured(config, letters, width, seed, held) for seed in seeds]
        table = np.array([found["projections"] for found in of_width])  # seed, layer, projection
        similarity.append(mean_of(np.moveaxis(table, 0, -1)))
        spread.append(mean_of((table.max(axis=2) - table.min(axis=2)).T))
        losses.append(mean_of([found["loss"] for found in of_width]))
    for layer in range(layers):
        for number, name in enumerate(_PROJECTIONS):
            place.errorbar(
                np.array(config["widths"]) * 1.03 ** (number - 1),
                [mean[layer, number] for mean, _ in similarity],
                [2 * error[layer, number] for _, error in similarity],
                fmt=f"{'os^D'[layer % 4]}{'--' if layer else '-'}", color=COLOURS[number],
                capsize=2, label=f"{name}, layer {layer}",
            )  # fmt: skip
    place.set(xscale="log", xlabel="width", ylabel="similarity $\\omega$")
    place.set_xticks(config["widths"], config["widths"])
    place.minorticks_off()
    place.legend(fontsize=7)
    for width, (mean, error), (loss, loss_error) in zip(
        config["widths"], spread, losses, strict=True
    ):
        outcome.check(f"width {width}: loss (± {loss_error:.3f})", loss, 0.3, 1.4)
        for layer in range(layers):
            what = f"width {width}, layer {layer}: spread of omega over Q, K, V"
            outcome.check(f"{what} (± {error[layer]:.4f})", mean[layer], 0, 0.03)
    lead = [
        (mean[:, 2] - mean[:, :2].mean(axis=1)) / np.hypot(error[:, 2], error[:, :2].max(axis=1))
        for mean, error in similarity
    ]
    outcome.check("values above queries and keys, in errors, least", np.min(lead), 1, np.inf)
    outcome.check(
        "spread at the largest width over that at the smallest, mean over layers",
        np.mean(spread[-1][0]) / np.mean(spread[0][0]), 0, 0.85,
    )  # fmt: skip


def _measured(
    config: Any, letters: Any, width: int, seed: int, held: Any = None, **options: float
) -> dict[str, Any]:
    """Numbers of the trajectory of one model."""
    with tempfile.TemporaryDirectory() as folder:
        net = _trained(config, letters, width, seed, Path(folder), **options)
        grams = trajectory.of_checkpoints(folder, heads=config["heads"])
    scalars = grams.trajectory().scalars
    groups = grams.groups("projection")
    found: dict[str, Any] = {name: scalars[name][0] for name in _NUMBERS}
    if held is not None:
        found["loss"], found["accuracy"] = judged(net, held)
    found["projections"] = [
        [_similarity_of(groups, layer, name) for name in _PROJECTIONS]
        for layer in range(config["layers"])
    ]
    return found


def _similarity_of(groups: Any, layer: int, projection: str) -> float:
    (path,) = [p for name, p in groups.items() if f"h.{layer}" in name and projection in name]
    return float(path.similarity())


def _trained(
    config: Any, letters: Any, width: int, seed: int, folder: Path,
    momentum: float = 0.9, decay: float = 0.1,
) -> Decoder:  # fmt: skip
    """A model whose checkpoints are in the folder."""
    net, optimiser, generator = _started(config, width, seed, momentum, decay)
    wanted = np.linspace(0, config["steps"], config["checkpoints"]).astype(int).tolist()
    for step in range(config["steps"] + 1):
        if step in wanted:
            torch.save(net.state_dict(), folder / f"step{step}.pt")
        if step < config["steps"]:
            _step(net, optimiser, windows(letters, config["batch"], generator))
    return net


def _started(
    config: Any, width: int, seed: int, momentum: float = 0.9, decay: float = 0.1
) -> tuple[Decoder, torch.optim.Optimizer, torch.Generator]:
    torch.manual_seed(seed)
    net = Decoder(width, config["layers"], config["heads"])
    # Steps like 1/width move every unit by as much at any width.
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config["step_size"] * 32 / width, betas=(momentum, 0.98),
        weight_decay=decay * width / 32,
    )  # fmt: skip
    return net, optimiser, torch.Generator().manual_seed(1000 + seed)


def _step(net: Decoder, optimiser: torch.optim.Optimizer, batch: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss_of(net, batch).backward()
    optimiser.step()


# ---------------------------------------------------------------------- momentum and decay


def _grid(config: Any, letters: Any, places: Any, outcome: Outcome) -> None:
    momenta, decays = config["momenta"], config["decays"]
    found = [
        [
            [
                _measured(config, letters, config["widths"][0], seed,
                          momentum=momentum, decay=decay)
                for seed in range(config["seeds"])
            ]
            for decay in decays
        ]
        for momentum in momenta
    ]  # fmt: skip
    for place, name, label in zip(
        places, _NUMBERS, ("similarity $\\omega$", "mean update angle (degrees)"), strict=False
    ):
        table = np.array([[[one[name] for one in cell] for cell in row] for row in found])
        mean, error = mean_of(table)
        for row, momentum in enumerate(momenta):
            place.errorbar(
                np.arange(len(decays)) + 0.06 * (row - 1), mean[row], 2 * error[row], fmt="o-",
                color=COLOURS[row], capsize=3, label=f"momentum {momentum:g}",
            )  # fmt: skip
        place.set_xticks(np.arange(len(decays)), [f"{decay:g}" for decay in decays])
        place.set(xlabel=f"weight decay (width {config['widths'][0]})", ylabel=label)
        for axis, what in ((1, "decay"), (0, "momentum")):
            change = np.take(table, -1, axis) - np.take(table, 0, axis)  # the same seeds in both
            paired, bar = mean_of(change)
            for value, size, other in zip(paired, bar, momenta if axis else decays, strict=True):
                at = f"{'momentum' if axis else 'decay'} {other:g}"
                outcome.check(
                    f"{name.replace('_', ' ')}: change with {what} at {at} (± {size:.3g})",
                    value, -180, -2 * size,
                )  # fmt: skip
    places[0].legend(fontsize=8)


# ---------------------------------------------------------------------- scalars alone


def _scalars(config: Any, letters: Any, held: Any, place: Any, outcome: Outcome) -> None:
    table = np.array([_continued(config, letters, held, seed) for seed in range(config["seeds"])])
    lost = table[:, 1:] - table[:, :1]  # seed, switch, (loss, accuracy), against full training
    mean, error = mean_of(np.moveaxis(lost, 0, -1))
    spread = table[:, 0].std(axis=0, ddof=1)
    place.errorbar(
        config["switches"], mean[:, 0], 2 * error[:, 0], fmt="o-", color=COLOURS[0], capsize=3,
        label="loss",
    )  # fmt: skip
    place.errorbar(
        config["switches"], -mean[:, 1], 2 * error[:, 1], fmt="s-", color=COLOURS[1], capsize=3,
        label="accuracy lost",
    )  # fmt: skip
    place.axhspan(-2 * spread[0], 2 * spread[0], color=COLOURS[0], alpha=0.12,
                  label="±2 standard deviations of seeds")  # fmt: skip
    place.axhline(0.0, color=COLOURS[6], linestyle=":")
    place.set(
        xlabel=f"step from which scalars alone are trained (of {config['long']})",
        ylabel="against full training",
    )
    place.legend(fontsize=8)
    outcome.check("loss of full training, mean over seeds", table[:, 0, 0].mean(), 0.3, 0.7)
    outcome.check("accuracy of full training, mean over seeds", table[:, 0, 1].mean(), 0.7, 0.9)
    for number, switch in enumerate(config["switches"]):
        for column, what in enumerate(("loss added", "accuracy lost")):
            value = mean[number, column] * (-1) ** column
            # Late enough it stays within the scatter of seeds, early it does not.
            high = spread[column] if switch >= 0.9 * config["long"] else 1.0
            outcome.check(
                f"scalars alone from step {switch}: {what} (± {error[number, column]:.4f}; "
                f"seeds scatter by {spread[column]:.4f})", value, -spread[column], high,
            )  # fmt: skip
    first = mean[0, 0] / spread[0]
    outcome.check("loss added by the first switch, over the scatter of seeds", first, 2, np.inf)


def _continued(config: Any, letters: Any, held: Any, seed: int) -> list[tuple[float, float]]:
    """Loss and accuracy of full training, then of each switch, on the same batches.

    The step size falls to zero linearly, as is usual: what is done late counts less.
    """
    net, optimiser, generator = _started(config, config["widths"][0], seed)
    batches = [windows(letters, config["batch"], generator) for _ in range(config["long"])]
    found = []
    for step in range(config["long"]):
        if step in config["switches"]:
            other, its = copy.deepcopy((net, optimiser))  # goes on with its moments
            kept = {id(parameter) for parameter in other.scalars()}
            for parameter in other.parameters():
                parameter.requires_grad_(id(parameter) in kept)
            _finished(config, other, its, batches, step, config["long"])
            found.append(judged(other, held))
        _finished(config, net, optimiser, batches, step, step + 1)
    return [judged(net, held), *found]


def _finished(
    config: Any, net: Decoder, optimiser: torch.optim.Optimizer, batches: list[torch.Tensor],
    first: int, last: int,
) -> None:  # fmt: skip
    for step in range(first, last):
        for group in optimiser.param_groups:
            group["lr"] = config["long_step_size"] * (1.0 - step / config["long"])
        _step(net, optimiser, batches[step])


if __name__ == "__main__":
    run_alone(run, "trajectory_gpt", __doc__)
