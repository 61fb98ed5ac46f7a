"""Which conservation laws survive which optimiser.

A small GPT-2 learns the characters of Python's reference pages in float64, with every optimiser for
the same time (step size times steps) at several step sizes. Linear laws hold exactly under SGD and
momentum; quadratic ones drift in proportion to the step size, which leaves them intact in the limit
of small steps. Weight decay multiplies laws by a known factor, which is divided out. Adaptive
optimisers rescale the gradient entry by entry and break both, at any step size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone
from conservation_models import train

SMALL: dict[str, Any] = {"halvings": 2, "steps": 50, "seeds": 2, "width": 8, "batch": 4}
FULL = {**SMALL, "halvings": 3, "steps": 100, "seeds": 5, "width": 16, "batch": 8}
EXACT = 1e-10
KINDS = ("linear", "quadratic")


def optimisers() -> dict[str, tuple[Callable[..., Any], dict[str, Any], float]]:
    """Class, settings, and the largest step size."""
    sgd, optim = torch.optim.SGD, torch.optim
    return {
        "SGD": (sgd, {}, 0.1),
        "SGD, weight decay": (sgd, {"weight_decay": 0.1}, 0.1),
        "momentum": (sgd, {"momentum": 0.8}, 0.02),
        "momentum, weight decay": (sgd, {"momentum": 0.8, "weight_decay": 0.1}, 0.02),
        "Nesterov": (sgd, {"momentum": 0.8, "nesterov": True}, 0.02),
        "Adam": (optim.Adam, {}, 0.003),
        "AdamW, decoupled decay": (optim.AdamW, {"weight_decay": 0.1}, 0.003),
        "RMSprop": (optim.RMSprop, {}, 0.003),
        "Adagrad": (optim.Adagrad, {}, 0.01),
    }


def run(full: bool, figure_path: Path) -> Outcome:
    """Train with every optimiser, step size and seed."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome("Conservation laws and optimisers", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "GPT-2, float64: change of laws after the same time of training")
    markers = "osv^DPX*<"
    factors = 0.5 ** np.arange(config["halvings"] + 1)
    rows = []
    for (name, (kind, settings, largest)), marker in zip(
        optimisers().items(), markers, strict=True
    ):
        drifts, residual = _measure(kind, settings, largest, config)
        verdicts = []
        colour = (*COLOURS, "#999933")[len(rows)]
        for i, (what, place) in enumerate(zip(KINDS, axes, strict=True)):
            mean = drifts[..., i].mean(axis=1)
            error = drifts[..., i].std(axis=1, ddof=1) / config["seeds"] ** 0.5
            place.errorbar(factors, np.maximum(mean, 1e-17), 2 * error, fmt=f"{marker}-",
                           color=colour, ms=5, capsize=2, label=name)  # fmt: skip
            slope = np.polyfit(np.log(factors), np.log(np.maximum(mean, 1e-17)), 1)[0]
            verdicts.append(verdict(mean[0], slope, bool(settings.get("weight_decay"))))
            _check(outcome, name, what, mean[0], slope)
        rows.append((name, *verdicts, "yes" if residual < EXACT else "no"))
    for what, place in zip(KINDS, axes, strict=True):
        place.set(xscale="log", yscale="log", xlabel="step size / largest step size",
                  ylabel="mean change / size, decay divided out", title=f"{what} laws")  # fmt: skip
        place.set_xticks(factors, [f"1/{round(1 / f)}" if f < 1 else "1" for f in factors])
        place.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                    fontsize=9)  # fmt: skip
    figure.savefig(figure_path)
    outcome.config = {**config, "table": as_markdown(rows)}
    return outcome


def _measure(
    kind: Callable[..., Any], settings: dict[str, Any], largest: float, config: dict[str, Any]
) -> tuple[np.ndarray, float]:
    """Drifts without decay, (step size, seed, linear or quadratic), and what is lacking at most."""
    table, residual = [], 0.0
    for halving in range(config["halvings"] + 1):
        tau = largest / 2**halving
        steps = config["steps"] * 2**halving
        rows = []
        for seed in range(config["seeds"]):
            found, record, _, _ = train(
                "GPT-2", lambda p, tau=tau: kind(p, lr=tau, **settings), steps=steps, seed=seed,
                every=steps, width=config["width"], layers=1, batch=config["batch"], double=True,
            )  # fmt: skip
            linear = np.array([law.degree == 1 for law in found])
            drift = record.adjusted_drift[-1]
            rows.append([drift[linear].mean(), drift[~linear].mean()])
            residual = max(residual, record.forecast_residual.max())
        table.append(rows)
    return np.array(table), residual


def verdict(drift: float, slope: float, decay: bool) -> str:
    """What the drift and its exponent in the step size say."""
    if drift < EXACT:
        return "shrunk by a known factor, exactly" if decay else "exact"
    if slope > 0.6:
        return "shrunk by a known factor, as τ → 0" if decay else "as τ → 0"
    return "broken"


def as_markdown(rows: list[tuple[str, ...]]) -> str:
    """The table of the documentation."""
    lines = [
        "| optimiser | linear laws | quadratic laws | forecast from gradients exact |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _check(outcome: Outcome, name: str, what: str, drift: float, slope: float) -> None:
    adaptive = not name.startswith(("SGD", "momentum", "Nesterov"))
    if adaptive:
        outcome.check(f"{name}: exponent of the drift of {what} laws", slope, -0.4, 0.6)
        outcome.check(f"{name}: drift of {what} laws", drift, 1e-4, np.inf)
    elif what == "linear":
        outcome.check(f"{name}: drift of linear laws", drift, 0, EXACT)
    else:
        outcome.check(f"{name}: exponent of the drift of quadratic laws", slope, 0.6, 1.6)


if __name__ == "__main__":
    run_alone(run, "conservation_optimisers", __doc__)
