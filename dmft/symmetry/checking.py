"""Symmetries tested sample by sample, together with the exact law of one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dmft.symmetry.checkpoints import Points
from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.noether import next_charge
from dmft.symmetry.report import validate_at
from dmft.symmetry.settings import SymmetryConfig
from dmft.symmetry.training import Training, starts_of

Row = dict[str, Any]  # name, charge, violation and error of the law of one step


def check_model(config: SymmetryConfig, tolerance: float | None) -> list[Row]:
    """The symmetries of a configured model at its start.

    Raises
    ------
    InputError : the loss of a sample lacks one of them.
    """
    assert config.model is not None
    x, y = config.data.draw(*config.model.widths)
    theta = starts_of(config.model, config.training)[0]
    gradients = config.model.per_sample(theta, x, y)
    return _check_at(config.model.symmetries(), theta, gradients, config.training, tolerance)


def check_points(
    points: Points,
    symmetries: Sequence[ExponentialSymmetry],
    training: Training,
    tolerance: float | None,
) -> list[Row]:
    """Each symmetry at the checkpoint where it holds worst.

    Raises
    ------
    InputError : the loss of a sample lacks one of them.
    """
    worst: list[Row] = []
    for point in points:
        for symmetry in symmetries:
            validate_at(symmetry, point, tolerance)
        rows = _check_at(symmetries, point.theta, point.gradients, training, tolerance)
        worst = [
            max(pair, key=lambda row: row["violation"])
            for pair in zip(rows, worst or rows, strict=True)
        ]
    return worst


def _check_at(
    symmetries: Sequence[ExponentialSymmetry],
    theta: np.ndarray,
    gradients: np.ndarray,
    training: Training,
    tolerance: float | None,
) -> list[Row]:
    eta, decay = training.step_size, training.weight_decay
    mean = gradients.mean(axis=0)
    stepped = (1.0 - eta * decay) * theta - eta * mean
    rows = []
    for symmetry in symmetries:
        violation = symmetry.validate(theta, gradients, tolerance)
        predicted = next_charge(symmetry, theta, mean, eta, decay)
        size = float(abs(symmetry.values) @ symmetry.project(theta) ** 2) or 1.0
        error = abs(float(symmetry.charge(stepped) - predicted)) / size
        charge = float(symmetry.charge(theta))
        rows.append(
            {"name": symmetry.name, "charge": charge, "violation": violation, "step_error": error}
        )
    return rows
