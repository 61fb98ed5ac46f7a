"""Predict where training ends and how fast, without solving for the way there.

Uses [problem] and [dynamics] of the configuration; takes about a second."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.problem import Problem
    from dmft.theory import Limit, Prediction
    from dmft.theory.searching import Search

PLACE = 50
SUMMARY = "predict limits and rates"
EXAMPLES = """\
  dmft theory
  dmft theory config.toml --set problem.network.init_scale=1e-3
  dmft theory --set dynamics.weight_decay=0.1 --json
  dmft theory --set problem.loss.kind=logistic --set problem.labels.kind=sign"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.output import print_json
    from dmft.config import load_config
    from dmft.theory import Prediction, limit, predict

    problem = load_config(arguments.config, arguments.overrides).problem
    found: Prediction | Limit = predict(problem) if problem.regression else limit(problem)
    started = _search_of(problem)
    if arguments.json:
        print_json({**found.to_dict(), "search": started and started.to_dict()})
        return 0
    rows = _prediction_rows(found) if isinstance(found, Prediction) else _limit_rows(found)
    if started:
        rows += _search_rows(started)
    for name, text in rows:
        print(f"{name:<26}{text}")
    if found.note:
        print(f"note: {found.note}")
    return 0


def _search_of(problem: Problem) -> Search | None:
    """How a small start searches; None where there is none."""
    from dmft.errors import InputError
    from dmft.theory.searching import search

    try:
        return search(problem)
    except InputError:  # a start that is not small, or a problem that search does not cover
        return None


def _search_rows(found: Search) -> list[tuple[str, str]]:
    times = zip(found.active_shares, found.active_times, strict=True)
    return [
        ("search ends at", _number(found.search_time)),
        *((f"  {share:.2%} have left zero", _number(time)) for share, time in times),
    ]


def _prediction_rows(found: Prediction) -> list[tuple[str, str]]:
    return [
        ("regime", found.regime),
        ("excess risk", _number(found.excess_risk)),
        ("train mse", _number(found.train_mse)),
        ("relaxation rate", _number(found.relaxation_rate)),
        ("train mse decays like", _decay(found.train_power, found.train_rate)),
        ("excess risk settles like", _decay(found.risk_power, found.risk_rate)),
        ("nonzero weights", _number(found.nonzero)),
    ]


def _limit_rows(found: Limit) -> list[tuple[str, str]]:
    """What there is; a number that the regime does not have is left out."""
    numbers = [
        ("overlap", found.overlap),
        ("squared norm", found.squared_norm),
        ("angle over pi", found.angle),
        ("excess risk", found.excess_risk),
        ("test error", found.test_error),
        ("margin", found.margin),
        ("train loss", found.train_loss),
        ("separability threshold", found.separability_threshold or None),
    ]
    present = [(name, _number(value)) for name, value in numbers if value is not None]
    return [("regime", found.regime), *present]


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.8g}"


def _decay(power: float | None, rate: float) -> str:
    """The law t^-power e^(-rate t) in words."""
    if power is None:
        return "unknown"
    parts = [f"t^{-power:g}"] if power else []
    parts += [f"exp(-{rate:.6g} t)"] if rate else []
    return " ".join(parts)
