"""Laws of a label y given the field h* = (X w*)_i of its sample."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dmft.validation import Settings, default_kind, register_kinds


class LinearLabels(Settings):
    """y = h* + noise_std eps."""

    signs: ClassVar[bool] = False
    kind: Literal["linear"] = "linear"


class SignLabels(Settings):
    """y = sign(h* + noise_std eps)."""

    signs: ClassVar[bool] = True
    kind: Literal["sign"] = "sign"


class LogitLabels(Settings):
    """y = +-1 with P(y = 1) = 1/(1 + exp(-slope h*)); noise_std is not used.

    slope : steepness of the probability.
    """

    signs: ClassVar[bool] = True
    kind: Literal["logit"] = "logit"
    slope: float = Field(1.0, gt=0)


class PoissonLabels(Settings):
    """Counts y of mean exp(slope h*); noise_std is not used.

    slope : steepness of the log-mean.
    """

    signs: ClassVar[bool] = False
    kind: Literal["poisson"] = "poisson"
    slope: float = Field(1.0, gt=0)


class RandomLabels(Settings):
    """Fair signs y = +-1 that know nothing of the teacher; noise_std is not used."""

    signs: ClassVar[bool] = True
    kind: Literal["random"] = "random"


class Outliers(Settings):
    """y = h* + noise_std eps, but for a fraction of the samples with outlier_std instead.

    fraction : probability of an outlier.
    outlier_std : standard deviation of the noise of outliers.
    """

    signs: ClassVar[bool] = False
    kind: Literal["outliers"] = "outliers"
    fraction: float = Field(0.1, ge=0, le=1)
    outlier_std: float = Field(5.0, ge=0)


Labels = Annotated[
    LinearLabels | SignLabels | LogitLabels | PoissonLabels | RandomLabels | Outliers,
    Field(discriminator="kind"),
    default_kind("linear"),
]
register_kinds("linear", "sign", "logit", "poisson", "random", "outliers")
