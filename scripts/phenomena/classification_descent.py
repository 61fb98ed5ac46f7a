"""Where noisy signs stop being separable, the test loss has a peak, and the test error has none.

Below the threshold the logistic loss can be driven to zero, and the weights of noisy labels grow
until decay stops them: test rows are misjudged with confidence. Far above there are samples enough.
In between, a little decay leaves a peak of the test loss; the test error, which knows no
confidence, falls all the way, though 0.19 of the labels are wrong and all are fitted: overfitting
costs confidence, not signs. More decay removes the peak.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory import limit, separability_threshold

SMALL: dict[str, Any] = {
    "noise": 0.7, "decays": [1e-3, 1e-1], "ratios": [0.5, 1.5, 2.3, 2.7, 3.1, 4.0, 6.0, 8.0],
    "dimension": 150, "seeds": 8, "simulated": [1.5, 2.7, 6.0],
}  # fmt: skip
FULL = {
    **SMALL, "decays": [1e-3, 1e-2, 1e-1], "dimension": 600, "seeds": 12,
    "ratios": np.linspace(0.5, 8.0, 31).tolist(), "simulated": [0.5, 1.5, 2.7, 3.3, 4.0, 6.0],
}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """Theory on a grid of sampling ratios, networks at some."""
    config = FULL if full else SMALL
    outcome = Outcome("Double descent of the logistic loss", __doc__ or "", config, figure_path)
    figure, (losses, errors) = new_figure(
        2, f"Linear model at the end of training, noise {config['noise']:g}"
    )
    threshold = separability_threshold(_problem(config, 1.0, 0.1))
    ratios = np.array(config["ratios"])
    for decay, colour in zip(config["decays"], COLOURS, strict=False):
        ends = [limit(_problem(config, ratio, decay)) for ratio in ratios]
        loss = np.array([_test_loss(config, end.overlap, end.squared_norm) for end in ends])
        error = np.array([end.test_error for end in ends])
        losses.plot(ratios, loss, color=colour, label=f"weight decay {decay:g}")
        errors.plot(ratios, error, color=colour)
        peak = ratios[int(loss.argmax())]
        if decay == config["decays"][0]:
            outcome.check("least decay: peak over threshold", peak / threshold, 0.7, 1.0)
            outcome.check(
                "least decay: loss at the peak over the first", max(loss) / loss[0], 1.5, 3
            )
        if decay == config["decays"][-1]:
            outcome.check("largest decay: sampling ratio of the largest loss", peak, 0.0, ratios[0])
        outcome.check(
            f"decay {decay:g}: largest rise of the test error", max(np.diff(error)), -1, 0
        )
        _networks(config, decay, colour, losses, errors, outcome)
    for axes, name in ((losses, "test loss"), (errors, "test error")):
        axes.axvline(threshold, color=COLOURS[6], linestyle=":")
        axes.set(xlabel="sampling ratio", ylabel=name)
    losses.set(yscale="log")
    losses.legend(fontsize=8, title="points: networks, dotted: separable below", title_fontsize=8)
    errors.axhline(np.arctan(config["noise"]) / np.pi, color=COLOURS[6], linestyle="--")
    figure.savefig(figure_path)
    return outcome


def _problem(config: dict[str, Any], ratio: float, decay: float) -> dmft.Problem:
    return dmft.Problem(
        sampling_ratio=ratio, noise_std=config["noise"], teacher="gaussian", network="linear",
        loss="logistic", labels="sign", dynamics={"weight_decay": decay},
    )  # fmt: skip


def _networks(
    config: dict[str, Any], decay: float, colour: str, losses: Any, errors: Any, outcome: Outcome
) -> None:
    """Finite networks, where the flow has come to rest."""
    worst = 0.0
    for ratio in config["simulated"]:
        problem = _problem(config, ratio, decay)
        networks = dmft.simulate(
            problem, times=[0.0, 20.0 / decay], dimension=config["dimension"], seeds=config["seeds"]
        )
        pairs = zip(networks.seed_overlap[:, -1], networks.seed_squared_norm[:, -1], strict=True)
        found = np.array([_test_loss(config, overlap, norm) for overlap, norm in pairs])
        error = found.std(ddof=1) / len(found) ** 0.5
        losses.errorbar(ratio, found.mean(), 2 * error, fmt="o", color=colour, markersize=4)
        errors.errorbar(
            ratio, networks.test_error[-1], 2 * networks.test_error_stderr[-1], fmt="o",
            color=colour, markersize=4,
        )  # fmt: skip
        end = limit(problem)
        theory = _test_loss(config, end.overlap, end.squared_norm)
        # Networks are biased by a few times 1/dimension.
        allowed = np.hypot(error, 5.0 / config["dimension"] * theory)
        worst = max(worst, abs(found.mean() - theory) / allowed)
    outcome.check(
        f"decay {decay:g}: |networks - theory| of the test loss, in errors", worst, 0, 3.5
    )


def _test_loss(config: dict[str, Any], overlap: float, squared_norm: float) -> float:
    """E log(1 + exp(-y h)) on fresh rows, whose (h, h*) are Gaussian; folded to y = 1."""
    from scipy.special import ndtr

    nodes, shares = np.polynomial.hermite_e.hermegauss(80)
    field, width = np.meshgrid(np.linspace(-8.0, 8.0, 801), nodes, indexing="ij")
    density = np.exp(-0.5 * field[:, :1] ** 2) * ndtr(field[:, :1] / config["noise"])
    share = density / density.sum() * shares / shares.sum()
    prediction = overlap * field + np.sqrt(squared_norm - overlap**2) * width
    return float(np.sum(share * np.logaddexp(0.0, -prediction)))


if __name__ == "__main__":
    run_alone(run, "classification_descent", __doc__)
