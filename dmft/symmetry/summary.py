"""The noise equilibrium of a configured model or of a checkpoint, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import NotConverged
from dmft.symmetry.balance import balanced_parameters, noise_matrices
from dmft.symmetry.checkpoints import Point
from dmft.symmetry.equilibrium import noise_equilibrium
from dmft.symmetry.exponential import ExponentialSymmetry, Symmetries
from dmft.symmetry.models.two_layer import TwoLayerLinear
from dmft.symmetry.noether import orbit_through
from dmft.symmetry.report import validate_at
from dmft.symmetry.settings import SymmetryConfig
from dmft.symmetry.training import Training, starts_of, train

Draw = Callable[[Path], None]
_ROWS = 12


def of_model(
    config: SymmetryConfig, tolerance: float | None, *, at_end: bool
) -> tuple[dict[str, Any], Draw]:
    """The equilibrium on the orbit of the start, or of the end of training, of a model.

    Raises
    ------
    InputError : settings that do not fit, or a loss without the symmetry.
    NotConverged : training diverged.
    """
    model, training = config.model, config.training
    assert model is not None
    x, y = config.data.draw(*model.widths)
    theta = starts_of(model, training)[0]
    if at_end:
        only = training.model_copy(update={"runs": 1, "points": 2})
        run = train(model, x, y, only, theta[None])
        if run.status != "done":
            raise NotConverged(f"training {run.reason}, a smaller training.step_size may help")
        theta = run.theta[-1, 0]
    point = Point(0.0, "the model", theta, model.per_sample(theta, x, y))
    if isinstance(model, TwoLayerLinear) and model.hidden > 1:
        return _of_two_layers(model, point, x, y, training)
    found, draw = of_point(point, model.symmetries(), training, tolerance)
    sharpness = [
        None if at is None else float(model.sharpness(at, x, y))
        for at in (theta, found["parameters"])
    ]
    return {**found, "sharpness_before": sharpness[0], "sharpness": sharpness[1]}, draw


def of_point(
    point: Point,
    symmetries: Sequence[ExponentialSymmetry],
    training: Training,
    tolerance: float | None,
) -> tuple[dict[str, Any], Draw]:
    """The equilibrium on the orbit of commuting symmetries through a point.

    Raises
    ------
    InputError : symmetries that do not commute, or a loss that lacks one.
    """
    for symmetry in symmetries:
        validate_at(symmetry, point, tolerance)
    orbit = orbit_through(
        symmetries, point.theta, point.gradients,
        noise_strength=training.noise_strength, penalty=training.penalty,
    )  # fmt: skip
    found = noise_equilibrium(orbit)

    def draw(path: Path) -> None:
        from dmft.symmetry.figures import plot_orbit

        plot_orbit(orbit, found, path)

    return {
        "symmetries": list(found.names),
        "kinds": list(found.kinds),
        "lam": [_number(value) for value in found.lam],
        "stationarity": found.stationarity,
        "flow_before": orbit.flow(),
        "charge_before": orbit.charge(),
        "charge": found.charges,
        "rates": found.rates,
        "noise_strength": orbit.noise_strength,
        "penalty": orbit.penalty,
        "parameters_before": point.theta,
        "parameters": found.theta,
    }, draw


def _of_two_layers(
    model: TwoLayerLinear, point: Point, x: np.ndarray, y: np.ndarray, training: Training
) -> tuple[dict[str, Any], Draw]:
    """All symmetries at once, which do not commute, by the closed form."""
    strength, penalty = training.noise_strength, training.penalty
    first, second = model.split(point.theta)
    matrices = noise_matrices(model, point.theta, x, y, noise_strength=strength, penalty=penalty)
    balanced = balanced_parameters(model, second @ first, matrices)
    stack = Symmetries(model.symmetries())
    orbits = [
        orbit_through(
            symmetry, at, model.per_sample(at, x, y), noise_strength=strength, penalty=penalty
        )
        for at in (point.theta, balanced)
        for symmetry in stack.members
    ]
    flows = np.array([orbit.flow()[0] for orbit in orbits]).reshape(2, -1)
    scales = [
        np.abs(orbit.values[:, 0]) @ (4 * penalty * orbit.squares + strength * orbit.powers)
        for orbit in orbits[len(stack) :]
    ]

    def draw(path: Path) -> None:
        from dmft.symmetry.figures import plot_balance

        plot_balance(
            model, matrices, {"given point": point.theta, "noise equilibrium": balanced}, path
        )

    return {
        "symmetries": list(stack.names),
        "kinds": ["finite"] * len(stack),
        "lam": None,  # the way leads through symmetries that do not commute
        "stationarity": np.abs(flows[1]) / np.maximum(scales, np.finfo(float).tiny),
        "flow_before": flows[0],
        "charge_before": stack.charges(point.theta),
        "charge": stack.charges(balanced),
        "rates": None,
        "noise_strength": strength,
        "penalty": penalty,
        "parameters_before": point.theta,
        "parameters": balanced,
        "imbalance_before": float(matrices.imbalance(model, point.theta)),
        "imbalance": float(matrices.imbalance(model, balanced)),
        "sharpness_before": float(model.sharpness(point.theta, x, y)),
        "sharpness": float(model.sharpness(balanced, x, y)),
    }, draw


def table(found: dict[str, Any]) -> str:
    """The equilibrium as text."""
    names = found["symmetries"]
    width = max(map(len, names[:_ROWS]))
    # Charges this small are what rounding makes of zero.
    rounding = 1e-13 * float(np.sum(np.square(found["parameters_before"])))
    lines = [f"{'symmetry':<{width}}  {'lambda':>12}  {'charge':>11}  -> {'charge':>11}"]
    for k in range(min(len(names), _ROWS)):
        shown = "" if found["lam"] is None else f"{float(found['lam'][k]):.6g}"
        if found["kinds"][k] == "undetermined":
            shown = "any"
        after = ""
        if found["charge"] is not None:
            charge = found["charge"][k]
            after = f"{charge if abs(charge) > rounding else 0.0:.4e}"
        before = f"{found['charge_before'][k]:.4e}"
        lines.append(f"{names[k]:<{width}}  {shown:>12}  {before:>11}  -> {after:>11}".rstrip())
    if len(names) > _ROWS:
        lines.append(f"... and {len(names) - _ROWS} more")
    if found["charge"] is None:
        lines.append("no equilibrium: noise drives the orbit to infinity")
    elif "undetermined" in found["kinds"]:
        lines.append("not unique: the flow vanishes identically where lambda is 'any'")
    lines.append(f"stationarity  {np.max(found['stationarity']):.1e}")
    if found["rates"] is not None:
        low, high = found["rates"][0], found["rates"][-1]
        lines.append(f"rates         {low:.4g} to {high:.4g} per unit of step_size times steps")
    lines += [
        f"{key:<13} {found[f'{key}_before']:.4g} -> {found[key]:.4g}"
        for key in ("imbalance", "sharpness")
        if found.get(key) is not None
    ]
    return "\n".join(lines)


def _number(value: float) -> float | str:
    """Infinities survive JSON as text."""
    return float(value) if np.isfinite(value) else ("inf" if value > 0 else "-inf")
