"""Averages over samples at a fixed point: what a loss makes of a field that it has pulled.

A sample sees the field xi that the others leave it, jointly Gaussian with h* = X w*, and answers
with h = prox(xi), the solution of h + kappa l'(h, y) = xi, so that its slope is r = (xi - h)/kappa.
For a hard constraint (h = y, or y h >= 1) l' is the multiplier and h the projection of xi.

For all but the logistic and the Poisson loss r is linear in pieces of xi, and averages over xi are
moments of truncated normal laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.problem import Problem
from dmft.problem.labels import LinearLabels, Outliers
from dmft.problem.losses import Hinge, Huber, Logistic, Loss, Poisson, Squared
from dmft.theory.label_nodes import Nodes, label_nodes

_TAIL = 8.5
_SMOOTH, _FEW, _FINE = 161, 61, 4001  # points in xi: logistic, Poisson, values with kinks
_MARGIN = 1.0


@dataclass(frozen=True)
class Answer:
    """E[dr/dxi], E[r^2], and E[r h*] explained by h* beyond xi: its response R_*."""

    response: float
    square: float
    teacher_response: float


class Pull(Protocol):
    """How a loss or a constraint turns xi into h."""

    def moments(
        self, mean: np.ndarray, std: float | np.ndarray, labels: np.ndarray, kappa: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[r], E[r^2], E[dr/dxi] over xi ~ N(mean, std^2), arrays over nodes."""

    def field(self, xi: np.ndarray, labels: np.ndarray, kappa: float) -> np.ndarray:
        """h at xi."""


@dataclass(frozen=True)
class Piecewise:
    """A loss or constraint whose slope at h = prox(xi) is linear in pieces of xi."""

    kind: str  # squared, equality, huber, hinge or margin
    parameter: float = 0.0

    def moments(
        self, mean: np.ndarray, std: float | np.ndarray, labels: np.ndarray, kappa: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = second = response = np.zeros(np.broadcast(mean, labels).shape)
        for low, high, level, slope in self._pieces(labels, kappa):
            zero, one, two = _truncated((low - mean) / std, (high - mean) / std)
            level = level + slope * mean
            rise = slope * std
            first = first + level * zero + rise * one
            second = second + level**2 * zero + 2.0 * level * rise * one + rise**2 * two
            response = response + slope * zero
        return first, second, response

    def field(self, xi: np.ndarray, labels: np.ndarray, kappa: float) -> np.ndarray:
        slopes = np.zeros(np.broadcast(xi, labels).shape)
        for low, high, level, slope in self._pieces(labels, kappa):
            slopes = np.where((xi > low) & (xi <= high), level + slope * xi, slopes)
        return np.asarray(xi - kappa * slopes)

    def _pieces(
        self, y: np.ndarray, kappa: float
    ) -> Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
        """(low, high, level, slope): r = level + slope xi for low < xi <= high; else r = 0."""
        far, zero, width = np.full(np.shape(y), np.inf), np.zeros(np.shape(y)), self.parameter
        if self.kind in ("squared", "equality"):
            slope = 1.0 / (kappa + (self.kind == "squared"))
            return [(-far, far, -slope * y, slope)]
        if self.kind == "margin":
            return [(-far, zero + _MARGIN, zero - _MARGIN / kappa, 1.0 / kappa)]
        if self.kind == "hinge":
            edge = width - kappa
            return [
                (-far, zero + edge, zero - 1.0, 0.0),
                (zero + edge, zero + width, zero - width / kappa, 1.0 / kappa),
            ]
        reach = width * (1.0 + kappa)
        return [
            (-far, y - reach, zero - width, 0.0),
            (y - reach, y + reach, -y / (1.0 + kappa), 1.0 / (1.0 + kappa)),
            (y + reach, far, zero + width, 0.0),
        ]


@dataclass(frozen=True)
class Smooth:
    """The logistic loss (labels folded to y = 1) and the Poisson loss, by quadrature in xi."""

    poisson: bool

    def moments(
        self, mean: np.ndarray, std: float | np.ndarray, labels: np.ndarray, kappa: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z, weight = _normal_points(_FEW if self.poisson else _SMOOTH)
        h = self.field(mean[:, None] + std * z, labels[:, None], kappa)
        slope, curvature = self._derivatives(h, labels[:, None])
        return slope @ weight, slope**2 @ weight, (curvature / (1.0 + kappa * curvature)) @ weight

    def field(self, xi: np.ndarray, labels: np.ndarray, kappa: float) -> np.ndarray:
        # Bracketed by xi and xi - kappa r(xi); from the side where the exponential is small.
        if self.poisson:
            h = np.minimum(xi + kappa * labels, 30.0)
        else:
            h = np.maximum(xi, np.minimum(xi + kappa, np.log1p(kappa)))
        for _ in range(300):
            slope, curvature = self._derivatives(h, labels)
            move = (h + kappa * slope - xi) / (1.0 + kappa * curvature)
            h = h - np.clip(move, -2.0, 2.0)
            if np.abs(move).max() < 1e-12 * (1.0 + np.abs(h).max()):
                break
        return h

    def _derivatives(self, h: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.poisson:
            mean = np.exp(h)
            return mean - labels, mean
        from scipy.special import expit

        return -expit(-h), expit(h) * expit(-h)


@dataclass(frozen=True)
class LabelledSamples:
    """Any labels, by nodes (h*/sqrt(rho2), y); strength is rho2 = E[s w*^2]."""

    pull: Pull
    nodes: Nodes
    strength: float

    def answer(self, overlap: float, squared_norm: float, kappa: float) -> Answer:
        mean, std = self._field(overlap, squared_norm)
        first, second, response = self.pull.moments(mean, std, self.nodes.label, kappa)
        p = self.nodes.probability
        rate = float(p @ response)
        correlation = self.strength**0.5 * float(p @ (first * self.nodes.teacher))
        teacher = (correlation - rate * overlap) / self.strength if self.strength else 0.0
        return Answer(rate, float(p @ second), teacher)

    def train_loss(self, loss: Loss, overlap: float, squared_norm: float, kappa: float) -> float:
        mean, std = self._field(overlap, squared_norm)
        smooth = isinstance(self.pull, Smooth)
        z, weight = _normal_points(_SMOOTH if smooth else _FINE)
        total = 0.0
        for m, y, p in zip(mean, self.nodes.label, self.nodes.probability, strict=True):
            label = np.full(1, y)
            h = self.pull.field(m + std * z, label, kappa)
            total += float(p) * float(weight @ _loss(loss, h, label))
        return total

    def _field(self, overlap: float, squared_norm: float) -> tuple[np.ndarray, float]:
        slope = overlap / self.strength**0.5 if self.strength else 0.0
        return slope * self.nodes.teacher, max(squared_norm - slope**2, 1e-300) ** 0.5


@dataclass(frozen=True)
class ResidualSamples:
    """Losses of h - y with labels h* + noise: only xi - y matters, and R_* = -R_r.

    share, noise : probability and standard deviation of each component of the noise.
    """

    pull: Pull
    share: np.ndarray
    noise: np.ndarray
    strength: float

    def answer(self, overlap: float, squared_norm: float, kappa: float) -> Answer:
        std = self._spread(overlap, squared_norm)
        zero = np.zeros(len(std))
        _, second, response = self.pull.moments(zero, std, zero, kappa)
        rate = float(self.share @ response)
        return Answer(rate, float(self.share @ second), -rate)

    def train_loss(self, loss: Loss, overlap: float, squared_norm: float, kappa: float) -> float:
        z, weight = _normal_points(_FINE)
        total = 0.0
        for share, std in zip(self.share, self._spread(overlap, squared_norm), strict=True):
            h = self.pull.field(std * z, np.zeros(1), kappa)
            total += float(share) * float(weight @ _loss(loss, h, np.zeros(1)))
        return total

    def _spread(self, overlap: float, squared_norm: float) -> np.ndarray:
        risk = max(squared_norm - 2.0 * overlap + self.strength, 0.0)
        return np.sqrt(np.maximum(risk + self.noise**2, 1e-300))


Samples = LabelledSamples | ResidualSamples


def samples_of(problem: Problem, strength: float, constraint: str | None = None) -> Samples:
    """The sample side of a problem under its loss, or a constraint 'equality' or 'margin'."""
    loss, labels = problem.loss, problem.labels
    if constraint is not None:
        pull: Pull = Piecewise(constraint)
    elif isinstance(loss, Squared | Huber | Hinge):
        pull = Piecewise(loss.kind, loss.parameter)
    elif isinstance(loss, Logistic | Poisson):
        pull = Smooth(loss.kind == "poisson")
    else:
        raise TypeError(f"unknown loss '{loss.kind}'")
    if isinstance(labels, Outliers):
        share = np.array([1.0 - labels.fraction, labels.fraction])
        noise = np.array([problem.noise_std, labels.outlier_std])
        return ResidualSamples(pull, share, noise, strength)
    if isinstance(labels, LinearLabels):
        return ResidualSamples(pull, np.ones(1), np.array([problem.noise_std]), strength)
    return LabelledSamples(pull, label_nodes(problem, strength), strength)


def _loss(loss: Loss, h: np.ndarray, y: np.ndarray) -> np.ndarray:
    """l(h, y)."""
    if loss.kind == "logistic":
        return np.logaddexp(0.0, -y * h)
    if loss.kind == "poisson":
        return np.asarray(np.exp(h) - y * h)
    if isinstance(loss, Hinge):
        return np.maximum(loss.margin - y * h, 0.0)
    gap = np.abs(h - y)
    if isinstance(loss, Huber):
        return np.where(gap <= loss.width, 0.5 * gap**2, loss.width * (gap - 0.5 * loss.width))
    if isinstance(loss, Squared):
        return np.asarray(0.5 * gap**2)
    raise TypeError(f"unknown loss '{loss.kind}'")


def _truncated(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P, E[z] and E[z^2] of a standard normal z within (low, high)."""
    from scipy.special import ndtr

    # From the nearer tail, where differences do not cancel.
    flip = low > 0.0
    left, right = np.where(flip, -high, low), np.where(flip, -low, high)
    zero = ndtr(right) - ndtr(left)
    at_low, at_high = (np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi) for e in (low, high))
    finite_low, finite_high = (np.where(np.isfinite(e), e, 0.0) for e in (low, high))
    return zero, at_low - at_high, zero + finite_low * at_low - finite_high * at_high


def _normal_points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The trapezoidal rule of a standard normal, spectrally accurate for smooth functions."""
    z = np.linspace(-_TAIL, _TAIL, count)
    weight = np.exp(-0.5 * z**2)
    return z, weight / weight.sum()
