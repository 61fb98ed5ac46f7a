"""Synthetic data: Gaussian inputs of given spread, a linear teacher, Gaussian label noise."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from dmft.validation import Settings


class SyntheticData(Settings):
    """y = V x + noise with diagonal covariances of x and of the noise.

    samples : number of samples.
    noise_std : root of the mean variance of the label noise.
    teacher_std : root mean square of the entries of V times sqrt(inputs).
    input_spread, noise_spread : largest over smallest variance of the entries of x and of the
        noise, geometrically spaced, with mean 1 and noise_std^2.
    seed : data derive from it.
    """

    samples: int = Field(100, ge=2, le=1_000_000)
    noise_std: float = Field(0.5, ge=0)
    teacher_std: float = Field(1.0, ge=0)
    input_spread: float = Field(1.0, gt=0)
    noise_spread: float = Field(1.0, gt=0)
    seed: int = Field(0, ge=0)

    def draw(self, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (samples, inputs) and labels (samples, outputs)."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 1]))
        teacher = self.teacher_std * rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        x = rng.standard_normal((self.samples, inputs)) * _spread(inputs, self.input_spread)
        noise = rng.standard_normal((self.samples, outputs)) * _spread(outputs, self.noise_spread)
        return x, x @ teacher.T + self.noise_std * noise


def _spread(count: int, ratio: float) -> np.ndarray:
    """Standard deviations whose squares fall geometrically by `ratio` and have mean 1."""
    variances = np.geomspace(ratio, 1.0, count)
    return np.asarray(np.sqrt(variances / variances.mean()))
