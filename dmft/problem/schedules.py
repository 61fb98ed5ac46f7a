"""Schedules: the factor that multiplies the step size at step k = 0, 1, 2, ...

Every schedule may start with a warm-up, factor (k + 1)/warmup_steps at the steps k < warmup_steps;
its own course begins after it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.validation import Settings, default_kind, register_kinds

Steps = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(ge=0)]


class Constant(Settings):
    """A constant step size, after the warm-up.

    warmup_steps : steps over which the factor rises linearly to 1.
    """

    kind: Literal["constant"] = "constant"
    warmup_steps: int = Field(0, ge=0)

    def course(self, after: np.ndarray) -> np.ndarray:
        """Factors at numbers of steps after the warm-up."""
        return np.ones_like(after)


class _Decay(Settings):
    """From 1 to final_fraction.

    warmup_steps : steps over which the factor rises linearly to 1.
    total_steps : steps of the whole course, the warm-up included; the factor stays beyond.
    final_fraction : the factor reached at the end.
    """

    warmup_steps: int = Field(0, ge=0)
    total_steps: Steps
    final_fraction: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _warm_first(self) -> _Decay:
        if self.warmup_steps >= self.total_steps:
            raise InputError(
                f"given {self.warmup_steps}, must be less than total_steps = {self.total_steps}",
                "warmup_steps",
            )
        return self

    def progress(self, after: np.ndarray) -> np.ndarray:
        """Part of the course that is over, from 0 to 1."""
        return np.minimum(after / (self.total_steps - self.warmup_steps), 1.0)


class Cosine(_Decay):
    """Half a cosine from 1 after the warm-up to final_fraction at total_steps."""

    kind: Literal["cosine"] = "cosine"

    def course(self, after: np.ndarray) -> np.ndarray:
        """Factors at numbers of steps after the warm-up."""
        fall = 0.5 * (1.0 + np.cos(np.pi * self.progress(after)))
        return self.final_fraction + (1.0 - self.final_fraction) * fall


class LinearDecay(_Decay):
    """A straight line from 1 after the warm-up to final_fraction at total_steps."""

    kind: Literal["linear"] = "linear"

    def course(self, after: np.ndarray) -> np.ndarray:
        """Factors at numbers of steps after the warm-up."""
        return 1.0 - (1.0 - self.final_fraction) * self.progress(after)


class Exponential(Settings):
    """factor^k at k steps after the warm-up.

    warmup_steps : steps over which the factor rises linearly to 1.
    factor : what multiplies the step size at every step.
    """

    kind: Literal["exponential"] = "exponential"
    warmup_steps: int = Field(0, ge=0)
    factor: float = Field(gt=0, le=1)

    def course(self, after: np.ndarray) -> np.ndarray:
        """Factors at numbers of steps after the warm-up."""
        return np.asarray(self.factor**after)


class Piecewise(Settings):
    """factors[i] from steps[i] on, 1 before the first of them; they do not accumulate.

    warmup_steps : steps over which the factor rises linearly to 1.
    steps : increasing numbers of steps after the warm-up.
    factors : what multiplies step_size from there on.
    """

    kind: Literal["piecewise"] = "piecewise"
    warmup_steps: int = Field(0, ge=0)
    steps: tuple[Steps, ...] = Field(min_length=1)
    factors: tuple[Factor, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _increasing(self) -> Piecewise:
        if len(self.factors) != len(self.steps):
            raise InputError(
                f"given {len(self.factors)} for {len(self.steps)} steps, must be as many", "factors"
            )
        if np.any(np.diff(self.steps) <= 0):
            raise InputError(f"given {list(self.steps)}, must increase", "steps")
        return self

    def course(self, after: np.ndarray) -> np.ndarray:
        """Factors at numbers of steps after the warm-up."""
        passed = np.searchsorted(self.steps, after, side="right")
        return np.concatenate([[1.0], self.factors])[passed]


Schedule = Annotated[
    Constant | Cosine | LinearDecay | Exponential | Piecewise,
    Field(discriminator="kind"),
    default_kind("constant"),
]
register_kinds("constant", "cosine", "linear", "exponential", "piecewise")


def step_factors(schedule: Schedule, steps: int) -> np.ndarray:
    """The factor of each of the first `steps` steps, shape (steps,)."""
    factors = schedule.course(np.maximum(np.arange(float(steps)) - schedule.warmup_steps, 0.0))
    warm = min(schedule.warmup_steps, steps)
    factors[:warm] = np.arange(1, warm + 1) / max(schedule.warmup_steps, 1)
    return factors
