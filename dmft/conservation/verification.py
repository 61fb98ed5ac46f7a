"""Laws put to the test: along a flow in float64, and against a quantity that is not conserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.conservation.architectures.base import Architecture
from dmft.conservation.closure import generate
from dmft.conservation.counting import check_laws
from dmft.conservation.fields import Fields
from dmft.conservation.flow import RandomLoss, integrate
from dmft.conservation.law import Law
from dmft.conservation.rings import PRIMES, PrimeField

TOLERANCE = 1e-12
_EXACT_STAGES = 4  # for laws that are neither linear nor quadratic: order 8


@dataclass(frozen=True)
class Drift:
    """How far a law moved along a flow.

    drift : largest |h(t) - h(0)| / (1 + |h(0)|) over times and entries.
    conserved : the exact test modulo primes.
    """

    law: Law
    drift: float
    conserved: bool

    @property
    def holds(self) -> bool:
        return self.conserved and self.drift < TOLERANCE


@dataclass(frozen=True)
class Verification:
    """Drifts of all laws along one flow.

    Units: all numbers are dimensionless but the losses, which have that of the model.

    Attributes
    ----------
    drifts : one for each family.
    control : of a random diagonal quadratic form, which is no law; it must drift.
    moved : |theta(T) - theta(0)| / |theta(0)|.
    losses : at the start and at the end.
    """

    architecture: Architecture
    drifts: tuple[Drift, ...]
    control: Drift
    moved: float
    losses: tuple[float, float]

    @property
    def passed(self) -> bool:
        """All laws hold, and the false one is refuted by both tests."""
        refuted = not self.control.conserved and self.control.drift > 1e3 * TOLERANCE
        return refuted and all(drift.holds for drift in self.drifts)

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "architecture": self.architecture.describe(),
            "passed": self.passed,
            "tolerance": TOLERANCE,
            "moved": self.moved,
            "loss": list(self.losses),
            "laws": [_row(drift) for drift in self.drifts],
            "control": _row(self.control),
        }


def verify(
    architecture: Architecture,
    laws: Sequence[Law] | None = None,
    *,
    steps: int = 50,
    samples: int = 8,
    seed: int = 0,
) -> Verification:
    """Test laws on a flow of a random loss on random data, and exactly modulo primes.

    Units: drifts are relative to the size of the law; time is that of the flow.

    Parameters
    ----------
    architecture : see `dmft.conservation.parse_architecture`.
    seed : of point, data and loss.
    laws : by default those of the catalogue.
    steps : of the integrator, each over about 2 % of the size of theta at the start.
    samples : number of data points.

    Raises
    ------
    NotConverged : the flow could not be followed with any step.
    """
    tested = architecture.laws() if laws is None else tuple(laws)
    control = random_form(architecture, seed)
    quadratic = all(law.degree is not None for law in tested)
    loss = RandomLoss(architecture, samples, seed)
    flow = integrate(loss, steps, stages=1 if quadratic else _EXACT_STAGES)
    trace = generate(Fields(architecture, PrimeField(PRIMES[0], seed), seed), max_level=1)
    exact = [check.conserved for check in check_laws([*tested, control], trace)]
    drifts = [
        Drift(law, _drift(law, loss, flow.points), conserved)
        for law, conserved in zip([*tested, control], exact, strict=True)
    ]
    start = np.linalg.norm(flow.points[0])
    return Verification(
        architecture,
        tuple(drifts[:-1]),
        drifts[-1],
        float(np.linalg.norm(flow.points[-1] - flow.points[0]) / start),
        (float(flow.losses[0]), float(flow.losses[-1])),
    )


def random_form(architecture: Architecture, seed: int) -> Law:
    """sum r_i theta_i^2 with random integers r_i: conserved by no network that learns."""
    rng = np.random.default_rng([seed, 3])
    factors = {
        name: rng.integers(1, 100, shape) for name, shape in architecture.parameters().items()
    }
    return Law(
        "control",
        "sum_i r_i theta_i^2, r_i random",
        "\\sum_i r_i \\theta_i^2",
        lambda p: sum((p[name] * p[name] * factors[name]).sum() for name in factors),
    )


def _drift(law: Law, loss: RandomLoss, points: np.ndarray) -> float:
    values = np.array([
        law.value({name: part[0, 0] for name, part in loss.split(point[None, None]).items()})
        for point in points
    ])  # fmt: skip
    return float((np.abs(values - values[0]) / (1 + np.abs(values[0]))).max())


def _row(drift: Drift) -> dict[str, Any]:
    return {
        "name": drift.law.name,
        "formula": drift.law.formula,
        "drift": drift.drift,
        "conserved_exactly": drift.conserved,
    }
