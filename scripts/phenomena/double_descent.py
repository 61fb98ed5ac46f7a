"""Where samples are as many as coordinates, the excess risk has a peak.

At sampling ratio 1 there is one interpolator, it fits the noise with all its weights, and the
risk diverges like 1 / |1 - delta| for every start. Below, the start decides; above, all starts
end at least squares. Weight decay removes the peak.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory import predict

SMALL = {
    "noise": 0.3,
    "starts": [0.01, 1.0],
    "dimension": 100,
    "seeds": 10,
    "simulated": [0.4, 0.7, 1.6],
}
FULL = {
    "noise": 0.3,
    "starts": [1e-4, 0.01, 0.1, 1.0],
    "dimension": 400,
    "seeds": 24,
    "simulated": [0.2, 0.4, 0.6, 0.8, 1.3, 1.6, 2.5],
}
DECAY = 0.1


def run(full: bool, figure_path: Path) -> Outcome:
    """Theory on a grid of sampling ratios, networks at some."""
    config = FULL if full else SMALL
    outcome = Outcome("Double descent in the sampling ratio", __doc__ or "", config, figure_path)
    figure, (axes,) = new_figure(
        1, f"Excess risk at the end of training, noise {config['noise']:g}"
    )
    below, above = 1 - np.geomspace(0.9, 1e-3, 40), 1 + np.geomspace(1e-3, 2.0, 40)
    ratios = np.concatenate([below, above])
    for start, colour in zip(config["starts"], COLOURS, strict=False):
        risk = np.array([_limit(config, r, start) for r in ratios])
        axes.plot(ratios, risk, color=colour, label=f"start {start:g}")
        peak = ratios[int(risk.argmax())]
        outcome.check(f"start {start:g}: sampling ratio of the peak", peak, 0.99, 1.01)
        for side, name in ((below, "below"), (above, "above")):
            close = np.sort(np.abs(1 - side))[[0, 3]]
            sign = -1 if name == "below" else 1
            values = [_limit(config, 1 + sign * gap, start) for gap in close]
            power = np.log(values[1] / values[0]) / np.log(close[1] / close[0])
            outcome.check(f"start {start:g}: power of |1 - delta| {name}", power, -1.1, -0.9)
    worst = 0.0
    for start, colour in zip(config["starts"], COLOURS, strict=False):
        for ratio in config["simulated"]:
            problem = _problem(config, ratio, start)
            found = predict(problem)
            end = 12.0 / found.relaxation_rate
            result = dmft.simulate(
                problem, dimension=config["dimension"], seeds=config["seeds"], times=[end]
            )
            mean, error = result.excess_risk[-1], result.excess_risk_stderr[-1]
            axes.errorbar(
                ratio, mean, 2 * error, fmt="s", color=colour, markerfacecolor="white", capsize=2
            )
            # Finite networks have a bias of order 1/d, which grows close to the peak.
            allowed = np.hypot(error, 10 / config["dimension"] / abs(1 - ratio) * mean)
            worst = max(worst, abs(mean - found.excess_risk) / allowed)
    outcome.check("largest |network - theory|, in errors", worst, 0, 3.5)
    decayed = np.array([_limit(config, r, 1.0, DECAY) for r in [*ratios, 1.0]])
    order = np.argsort([*ratios, 1.0])
    axes.plot(
        np.sort([*ratios, 1.0]),
        decayed[order],
        "--",
        color=COLOURS[6],
        label=f"weight decay {DECAY:g}",
    )
    outcome.check(
        "with weight decay: largest rise with the sampling ratio",
        np.diff(decayed[order]).max(),
        -np.inf,
        0,
    )
    axes.set(
        yscale="log",
        xlabel="sampling ratio $\\delta = n/d$",
        ylabel="excess risk",
        ylim=(1e-2, 100),
    )
    axes.legend(fontsize=8, title=f"squares: networks, d = {config['dimension']} (±2 std errors)",
                title_fontsize=8)  # fmt: skip
    figure.savefig(figure_path)
    return outcome


def _problem(config: dict, ratio: float, start: float, decay: float = 0.0) -> dmft.Problem:
    return dmft.Problem(
        sampling_ratio=float(ratio), noise_std=config["noise"], network={"init_scale": start},
        dynamics={"weight_decay": decay},
    )  # fmt: skip


def _limit(config: dict, ratio: float, start: float, decay: float = 0.0) -> float:
    return predict(_problem(config, ratio, start, decay)).excess_risk


if __name__ == "__main__":
    run_alone(run, "double_descent", __doc__)
