"""Losses l(h, y) of a prediction h = (Xw)_i for a label y."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dmft.validation import Settings, default_kind, register_kinds

SQUARED, LOGISTIC, HUBER, HINGE, POISSON = 0, 1, 2, 3, 4


class Squared(Settings):
    """(h - y)^2 / 2."""

    code: ClassVar[int] = SQUARED
    kind: Literal["squared"] = "squared"

    @property
    def parameter(self) -> float:
        """Unused by this loss."""
        return 0.0


class Logistic(Settings):
    """log(1 + exp(-y h)) for labels y = +-1."""

    code: ClassVar[int] = LOGISTIC
    kind: Literal["logistic"] = "logistic"

    @property
    def parameter(self) -> float:
        """Unused by this loss."""
        return 0.0


class Huber(Settings):
    """(h - y)^2 / 2 up to |h - y| = width, linear beyond.

    width : residual at which the loss turns linear, in units of the labels.
    """

    code: ClassVar[int] = HUBER
    kind: Literal["huber"] = "huber"
    width: float = Field(1.0, gt=0)

    @property
    def parameter(self) -> float:
        """The width."""
        return self.width


class Hinge(Settings):
    """max(0, margin - y h) for labels y = +-1.

    margin : y h beyond which the loss vanishes.
    """

    code: ClassVar[int] = HINGE
    kind: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0)

    @property
    def parameter(self) -> float:
        """The margin."""
        return self.margin


class Poisson(Settings):
    """exp(h) - y h for counts y = 0, 1, 2, ..."""

    code: ClassVar[int] = POISSON
    kind: Literal["poisson"] = "poisson"

    @property
    def parameter(self) -> float:
        """Unused by this loss."""
        return 0.0


Loss = Annotated[
    Squared | Logistic | Huber | Hinge | Poisson,
    Field(discriminator="kind"),
    default_kind("squared"),
]
register_kinds("squared", "logistic", "huber", "hinge", "poisson")
