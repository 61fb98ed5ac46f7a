"""Curves of starts over five decades fall on one another in predicted units of time.

Large starts learn in the lazy time 1 / (2 alpha^2), small ones in the search time, which grows
like log(1/alpha): both are T = psi'(w_0) / |g|, the time in which the initial force carries a
weight to the size of the teacher (`dmft.theory.timescales.learning_time`). All starts see the
same data, so what differs after rescaling is the start alone. In units of T the lazy curves agree
to the accuracy of the integration; the small ones up to corrections of relative order 1 /
log(1/alpha), which are why the starts shown are very small: from 1e-8 to 1e-3 they differ by some
ten percent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory.linear import learning_curves
from dmft.theory.measurement import spread_of_rescaled
from dmft.theory.timescales import learning_time

SMALL = {
    "dimension": 200,
    "seeds": 12,
    "large": [1e1, 1e2, 1e3, 1e4, 1e5, 1e6],
    "small": [1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15],
}
FULL = {**SMALL, "dimension": 400, "seeds": 12}


def run(full: bool, figure_path: Path) -> Outcome:
    """Simulate both families and measure how far they spread."""
    config = FULL if full else SMALL
    outcome = Outcome("Timescales: lazy and search times", __doc__ or "", config, figure_path)
    figure, axes = new_figure(
        2, "Five decades of starts each: time as it is, and in units of T", rows=2
    )
    curves = ("train_mse", "excess_risk")
    for column, (family, name) in enumerate((("large", "lazy"), ("small", "search"))):
        points = np.geomspace(0.05, 5.0, 60)
        runs, scales = [], []
        for start in config[family]:
            problem = dmft.Problem(network={"init_scale": start})
            scales.append(learning_time(problem))
            runs.append(
                dmft.simulate(
                    problem, dimension=config["dimension"], seeds=config["seeds"],
                    times=scales[-1] * np.geomspace(0.02, 6.0, 120), rtol=1e-5,
                )
            )  # fmt: skip
        before, after = axes[column], axes[2 + column]
        for result, scale, shade, start in zip(
            runs, scales, colours(len(runs)), config[family], strict=True
        ):
            later = slice(1, None)
            before.plot(
                result.time[later], result.excess_risk[later], color=shade, label=f"{start:g}"
            )
            after.plot(result.time[later] / scale, result.excess_risk[later], color=shade)
        for curve in curves:
            spread = spread_of_rescaled(
                [r.time for r in runs], [getattr(r, curve) for r in runs], scales, points
            )
            words = curve.replace("_", " ")
            outcome.check(
                f"{name}: largest spread of {words} over {len(runs)} starts", spread.max(), 0, 0.05
            )
        unscaled = max(scales) / min(scales)
        outcome.check(f"{name}: ratio of the longest to the shortest T", unscaled, 1.2, np.inf)
        before.set(
            xscale="log", xlabel="time (units of the flow)", title=f"{name}: starts $\\alpha$"
        )
        after.set(xscale="log", xlabel="time / T", title=f"{name}: in units of T")
        before.legend(fontsize=7)
    for each in axes:
        each.set_ylabel("excess risk")
    exact = learning_curves(
        dmft.Problem(network={"kind": "linear"}),
        points * learning_time(dmft.Problem(network={"kind": "linear"})),
    )
    axes[2].plot(
        points, exact.excess_risk, "--", color=COLOURS[1], label="linear model, mean field"
    )
    axes[2].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


if __name__ == "__main__":
    run_alone(run, "collapse", __doc__)
