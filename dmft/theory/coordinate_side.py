"""Averages over coordinates at a fixed point of any loss.

A coordinate sees x = gain sqrt(s) w* + tau z and answers with v = sqrt(s) w, the proximal map of
the penalty at strength theta; unlike for the squared loss of linear labels the gain is not 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dmft.theory.averages import SmoothPenalty
from dmft.theory.channels import Channels


@dataclass(frozen=True)
class Reply:
    """E[dv/dx], E[v sqrt(s) w*], E[v^2], E[w^2] and E|w|."""

    slope: float
    overlap: float
    squared_norm: float
    weight_square: float
    weight_size: float


class CoordinateSide(Protocol):
    """A penalty averaged over the population."""

    def reply(self, gain: float, tau: float, theta: float) -> Reply: ...


@dataclass(frozen=True)
class QuadraticSide:
    """w^2/2, or no penalty at all at theta = 0."""

    channels: Channels

    def reply(self, gain: float, tau: float, theta: float) -> Reply:
        law = self.channels
        shrink = law.feature / (law.feature + theta)
        strength = law.mean**2 + law.variance
        square = shrink**2 * (gain**2 * strength + tau**2)
        p = law.probability
        # E|w| of a normal law given its channel.
        from scipy.special import erf

        mean = shrink * gain * law.mean
        std = shrink * np.sqrt(gain**2 * law.variance + tau**2)
        size = std * np.sqrt(2 / np.pi) * np.exp(-0.5 * (mean / std) ** 2)
        size += mean * erf(mean / (std * 2**0.5))
        return Reply(
            slope=float(p @ shrink),
            overlap=gain * float(p @ (shrink * strength)),
            squared_norm=float(p @ square),
            weight_square=float(p @ (square / law.feature)),
            weight_size=float(p @ (size / np.sqrt(law.feature))),
        )


@dataclass(frozen=True)
class AbsoluteSide:
    """|w|."""

    channels: Channels

    def reply(self, gain: float, tau: float, theta: float) -> Reply:
        from scipy.special import ndtr

        law = self.channels
        mean = gain * law.mean
        width = np.sqrt(gain**2 * law.variance + tau**2)
        threshold = theta / np.sqrt(law.feature)
        active = first = second = size = np.zeros(len(law))
        for sign in (-1.0, 1.0):
            # Mirrored, the side x > threshold, where v = width (z - q) with z beyond q.
            q = (threshold - sign * mean) / width
            beyond, density = ndtr(-q), np.exp(-0.5 * q**2) / np.sqrt(2 * np.pi)
            part = width * (density - q * beyond)
            active, first, size = active + beyond, first + sign * part, size + part
            second = second + width**2 * ((1.0 + q**2) * beyond - q * density)
        p = law.probability
        return Reply(
            slope=float(p @ active),
            overlap=float(p @ (law.mean * first + gain * law.variance * active)),
            squared_norm=float(p @ second),
            weight_square=float(p @ (second / law.feature)),
            weight_size=float(p @ (size / np.sqrt(law.feature))),
        )


@dataclass(frozen=True)
class MirrorSide:
    """The mirror potential of a diagonal network."""

    penalty: SmoothPenalty

    def reply(self, gain: float, tau: float, theta: float) -> Reply:
        law = self.penalty.channels
        scaled = replace(law, mean=gain * law.mean, variance=gain**2 * law.variance)
        w, p, slope, channel = replace(self.penalty, channels=scaled).answers(tau, theta)
        v = np.sqrt(law.feature)[channel] * w
        overlap = p @ (law.mean[channel] * v + gain * law.variance[channel] * slope)
        return Reply(
            slope=float(p @ slope),
            overlap=float(overlap),
            squared_norm=float(p @ v**2),
            weight_square=float(p @ w**2),
            weight_size=float(p @ np.abs(w)),
        )
