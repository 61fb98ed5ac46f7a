"""Laws of a label y given the field h* = (X w*)_i of its sample.

Every law draws labels of a finite data set: `draw(fields, noise_std, rng, exact_noise=...)` gives
one per field (n,). With `exact_noise` the noise of every group of samples that share a standard
deviation is scaled to its exact variance, and the number of outliers is the nearest to their share.
The mean field draws rows of its own (solver/data_rows.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from dmft.errors import InputError
from dmft.validation import Settings, default_kind, register_kinds

_LARGEST_MEAN = 1e15  # of a count; beyond it counts are no whole numbers any more


class LinearLabels(Settings):
    """y = h* + noise_std eps."""

    signs: ClassVar[bool] = False
    kind: Literal["linear"] = "linear"

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One label per field."""
        return fields + noise_std * _normals(len(fields), rng, exact_noise)


class SignLabels(Settings):
    """y = sign(h* + noise_std eps)."""

    signs: ClassVar[bool] = True
    kind: Literal["sign"] = "sign"

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One label per field."""
        return _signs(fields + noise_std * _normals(len(fields), rng, exact_noise))


class LogitLabels(Settings):
    """y = +-1 with P(y = 1) = 1/(1 + exp(-slope h*)); noise_std is not used.

    slope : steepness of the probability.
    """

    signs: ClassVar[bool] = True
    kind: Literal["logit"] = "logit"
    slope: float = Field(1.0, gt=0)

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One label per field."""
        # P(y = 1) = P(uniform logit < slope h*): the logit of a uniform has that law.
        uniform = np.maximum(rng.random(len(fields)), 2.0**-54)
        return _signs(self.slope * fields - np.log(uniform / (1.0 - uniform)))


class PoissonLabels(Settings):
    """Counts y of mean exp(slope h*); noise_std is not used.

    slope : steepness of the log-mean.
    """

    signs: ClassVar[bool] = False
    kind: Literal["poisson"] = "poisson"
    slope: float = Field(1.0, gt=0)

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One count per field.

        Raises
        ------
        InputError : counts whose mean exp(slope h*) is beyond 1e15.
        """
        log_mean = self.slope * fields
        if log_mean.max(initial=0.0) > np.log(_LARGEST_MEAN):
            raise InputError(
                f"given labels of mean exp({log_mean.max():.3g}), must be below {_LARGEST_MEAN:g}",
                "problem.labels.slope",
            )
        return rng.poisson(np.exp(log_mean)).astype(float)


class RandomLabels(Settings):
    """Fair signs y = +-1 that know nothing of the teacher; noise_std is not used."""

    signs: ClassVar[bool] = True
    kind: Literal["random"] = "random"

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One label per field."""
        return 2.0 * rng.integers(0, 2, len(fields)) - 1.0


class Outliers(Settings):
    """y = h* + noise_std eps, but for a fraction of the samples with outlier_std instead.

    fraction : probability of an outlier.
    outlier_std : standard deviation of the noise of outliers.
    """

    signs: ClassVar[bool] = False
    kind: Literal["outliers"] = "outliers"
    fraction: float = Field(0.1, ge=0, le=1)
    outlier_std: float = Field(5.0, ge=0)

    def draw(
        self, fields: np.ndarray, noise_std: float, rng: np.random.Generator, *, exact_noise: bool
    ) -> np.ndarray:
        """One label per field; outliers are in random places."""
        n = len(fields)
        if exact_noise:
            outlying = np.zeros(n, dtype=bool)
            outlying[rng.permutation(n)[: round(self.fraction * n)]] = True
        else:
            outlying = rng.random(n) < self.fraction
        noise = np.empty(n)
        for chosen, std in ((outlying, self.outlier_std), (~outlying, noise_std)):
            noise[chosen] = std * _normals(int(chosen.sum()), rng, exact_noise)
        return fields + noise


def _normals(n: int, rng: np.random.Generator, exact: bool) -> np.ndarray:
    noise = rng.standard_normal(n)
    if exact and n > 1:
        noise /= np.sqrt(np.mean(noise**2))
    return noise


def _signs(values: np.ndarray) -> np.ndarray:
    return np.where(values >= 0.0, 1.0, -1.0)


Labels = Annotated[
    LinearLabels | SignLabels | LogitLabels | PoissonLabels | RandomLabels | Outliers,
    Field(discriminator="kind"),
    default_kind("linear"),
]
register_kinds("linear", "sign", "logit", "poisson", "random", "outliers")
