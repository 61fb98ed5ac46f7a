"""What a contestant achieved: measured rungs, the law through them, seconds to each target."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

CURVE = np.geomspace(0.002, 0.1, 30).tolist()  # errors along the law of a contestant


@dataclass(frozen=True)
class Rung:
    """One configuration: CPU seconds and relative RMS error with its standard error.

    measured : False if seconds follow from the contestant's law, not from a run of this size.
    """

    label: str
    seconds: float
    error: float
    stderr: float
    measured: bool = True


@dataclass
class Outcome:
    """Rungs in order of cost, and for each target the cheapest rung that meets it.

    law : in words, what seconds beyond the rungs rest on.
    curve : seconds and error along the law, for pictures.
    """

    rungs: list[Rung] = field(default_factory=list)
    reached: dict[float, Rung] = field(default_factory=dict)
    law: str = ""
    curve: list[tuple[float, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "rungs": [asdict(rung) for rung in self.rungs],
            "reached": {f"{target:g}": asdict(rung) for target, rung in self.reached.items()},
            "law": self.law,
            "curve": self.curve,
        }


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient x^exponent, by least squares in the logarithms, with the error of one sigma.

    The error is None with two points, which determine the law exactly.
    """

    coefficient: float
    exponent: float
    exponent_stderr: float | None

    @classmethod
    def through(cls, x: Any, y: Any) -> PowerLaw:
        """The law through at least two points of positive numbers."""
        u, v = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(y, dtype=float))
        centred = u - u.mean()
        exponent = float(centred @ v / (centred @ centred))
        coefficient = float(np.exp(v.mean() - exponent * u.mean()))
        if len(u) < 3:
            return cls(coefficient, exponent, None)
        rest = v - v.mean() - exponent * centred
        variance = rest @ rest / (len(u) - 2) / (centred @ centred)
        return cls(coefficient, exponent, float(np.sqrt(variance)))

    def __call__(self, x: float) -> float:
        return self.coefficient * x**self.exponent

    def inverse(self, y: float) -> float:
        """The x at which the law takes the value y."""
        return float((y / self.coefficient) ** (1.0 / self.exponent))

    def __str__(self) -> str:
        error = "" if self.exponent_stderr is None else f" ± {self.exponent_stderr:.2f}"
        return f"{self.exponent:.2f}{error}"
