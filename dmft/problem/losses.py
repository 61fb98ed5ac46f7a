"""Losses l(h, y) of a prediction h = (Xw)_i for a label y.

Every loss has its formulas for arrays, fields h and labels y that broadcast: values l(h, y), slopes
dl/dh and curvatures d2l/dh2. Finite networks train with these; the mean field has compiled ones,
written apart (solver/losses.py), so that either is a check of the other.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
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

    def values(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """l(h, y)."""
        return np.asarray(0.5 * (fields - labels) ** 2)

    def slopes(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dl/dh."""
        return np.asarray(fields - labels)

    def curvatures(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """d2l/dh2."""
        return np.ones(np.broadcast(fields, labels).shape)


class Logistic(Settings):
    """log(1 + exp(-y h)) for labels y = +-1."""

    code: ClassVar[int] = LOGISTIC
    kind: Literal["logistic"] = "logistic"

    @property
    def parameter(self) -> float:
        """Unused by this loss."""
        return 0.0

    def values(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """l(h, y)."""
        return np.asarray(np.logaddexp(0.0, -labels * fields))

    def slopes(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dl/dh."""
        return np.asarray(-labels * _sigmoid(-labels * fields))

    def curvatures(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """d2l/dh2."""
        fields, _ = np.broadcast_arrays(fields, labels)
        return _sigmoid(fields) * _sigmoid(-fields)


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

    def values(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """l(h, y)."""
        size = np.abs(fields - labels)
        inside = np.minimum(size, self.width)
        return np.asarray(inside * (size - 0.5 * inside))

    def slopes(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dl/dh."""
        return np.clip(fields - labels, -self.width, self.width)

    def curvatures(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """d2l/dh2; at the kinks that of the inner side."""
        return np.where(np.abs(fields - labels) <= self.width, 1.0, 0.0)


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

    def values(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """l(h, y)."""
        return np.maximum(0.0, self.margin - labels * fields)

    def slopes(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dl/dh; at the kink that of the side where it vanishes."""
        return np.where(labels * fields < self.margin, -labels, 0.0)

    def curvatures(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """d2l/dh2 where it exists."""
        return np.zeros(np.broadcast(fields, labels).shape)


class Poisson(Settings):
    """exp(h) - y h for counts y = 0, 1, 2, ..."""

    code: ClassVar[int] = POISSON
    kind: Literal["poisson"] = "poisson"

    @property
    def parameter(self) -> float:
        """Unused by this loss."""
        return 0.0

    def values(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """l(h, y)."""
        return np.asarray(np.exp(fields) - labels * fields)

    def slopes(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """dl/dh."""
        return np.asarray(np.exp(fields) - labels)

    def curvatures(self, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """d2l/dh2."""
        fields, _ = np.broadcast_arrays(fields, labels)
        return np.asarray(np.exp(fields))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1/(1 + exp(-x)) to full relative accuracy at either end."""
    decayed = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, decayed) / (1.0 + decayed)


Loss = Annotated[
    Squared | Logistic | Huber | Hinge | Poisson,
    Field(discriminator="kind"),
    default_kind("squared"),
]
register_kinds("squared", "logistic", "huber", "hinge", "poisson")
