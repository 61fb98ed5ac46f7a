"""Coordinates of the classical algorithm: population, paths and averages; see classical.py.

All path arrays are (time, path).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, TRUNCATED
from dmft.problem.population import Coordinates, strata

_ROWS = 32  # time steps whose memory of the rows before is one matrix product


@dataclass(frozen=True)
class Averages:
    """What the data need to know of the weights.

    correlation : E[s (w - w*)(w - w*)]. response : R_w. both (time, time).
    overlap : E[s w w*], shape (time,).
    """

    correlation: np.ndarray
    response: np.ndarray
    overlap: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether all of them are numbers."""
        return bool(np.isfinite(self.correlation).all() and np.isfinite(self.response).all())

    def mixed(self, old: Averages, damping: float) -> Averages:
        """These with a share of the old ones."""
        return Averages(
            *(
                damping * getattr(old, name) + (1 - damping) * getattr(self, name)
                for name in ("correlation", "response", "overlap")
            )
        )

    def change(self, old: Averages) -> float:
        """Largest difference of a kernel relative to its largest entry."""
        return max(
            _relative_change(getattr(self, name), getattr(old, name))
            for name in ("correlation", "response")
        )


def draw_population(
    problem: Problem, count: int, rng: np.random.Generator
) -> tuple[Coordinates, np.ndarray]:
    """Draw about `count` coordinates and the probability each one stands for, both (path,).

    Every stratum of the population gets equally many paths, and within it each quantity takes one
    value per quantile (Latin hypercube): the few large coefficients of a sparse teacher would
    otherwise dominate the sampling error.
    """
    draws, shares = [], []
    mixture = strata(problem)
    for stratum in mixture:
        size = max(1, round(count / len(mixture)))
        ranks = rng.permuted(np.tile(np.arange(size), (stratum.random_dimensions, 1)), axis=1).T
        draws.append(stratum.draw((ranks + rng.random(ranks.shape)) / size))
        shares.append(np.full(size, stratum.probability / size))
    columns = zip(*((c.teacher, c.variance, c.a0, c.b0) for c in draws), strict=True)
    return Coordinates(*(np.concatenate(column) for column in columns)), np.concatenate(shares)


class Process:
    """Effective process of one coordinate, for all paths at once; path arrays are (time, path)."""

    def __init__(
        self,
        problem: Problem,
        time: np.ndarray,
        step: float,
        coordinates: Coordinates,
        probability: np.ndarray,
    ) -> None:
        self.network = problem.network
        self.decay = problem.dynamics.weight_decay
        self.sampling_ratio = problem.sampling_ratio
        self.time = time
        self.coordinates = coordinates
        self._share = probability * coordinates.variance
        self._probability = probability
        self.increment = step * np.exp(-self.network.growth(self.decay) * time)

    def weights_of(self, force: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """w = phi(G, t) and d phi / dG for the accumulated force G of every path."""
        lam, depth = self.decay, self.network.depth
        a0, b0 = self.coordinates.a0, self.coordinates.b0
        if self.network.code == LINEAR:
            shrink = np.exp(-lam * time)
            return -shrink * force, np.full_like(force, -shrink)
        if self.network.code == DEPTH_TWO:
            plus = (a0 * np.exp(-force - lam * time)) ** 2
            minus = (b0 * np.exp(force - lam * time)) ** 2
            return (plus - minus) / 2, -(plus + minus)
        if self.network.code == TRUNCATED:
            plus, of_plus = _cut_factor(a0, -force, self.network.constant)
            minus, of_minus = _cut_factor(b0, force, self.network.constant)
            return plus - minus, -(of_plus + of_minus)
        if self.network.code != DEEP:
            raise ValueError(f"unknown network {self.network.code}")
        growth = np.exp(self.network.growth(lam) * time)
        roots = np.array(
            [a0 ** (2 - depth) + (depth - 2) * force, b0 ** (2 - depth) - (depth - 2) * force]
        )
        # A step across the singularity lands on another branch: no number, not a wrong one.
        a, b = (growth * np.where(roots > 0, roots, np.nan)) ** (-1 / (depth - 2))
        slope = -growth * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
        return (a**depth - b**depth) / depth, slope

    def initial_weights(self) -> np.ndarray:
        """w(0), shape (path,)."""
        return self.weights_of(np.zeros_like(self.coordinates.teacher), 0.0)[0]

    def paths(
        self, noise: np.ndarray, residual_response: np.ndarray, pull: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explicit Euler: weights w_k and slopes d phi/dG along every path; see `Answer`."""
        variance, teacher = self.coordinates.variance, self.coordinates.teacher
        feedback = self.sampling_ratio * variance
        noise = np.sqrt(variance) * noise
        weights, slope, error = (np.empty_like(noise) for _ in range(3))
        force = np.zeros_like(noise[0])
        for start in range(0, len(noise), _ROWS):
            # One product for the memory of a whole block of rows, up to the block.
            rows = slice(start, start + _ROWS)
            memory = residual_response[rows, :start] @ error[:start]
            for k, past in enumerate(memory, start):
                weights[k], slope[k] = self.weights_of(force, self.time[k])
                error[k] = weights[k] - teacher
                past += residual_response[k, start : k + 1] @ error[start : k + 1]
                past += pull[k] * teacher
                force += self.increment[k] * (noise[k] + feedback * past)
        return weights, slope

    def averages(self, weights: np.ndarray, response: np.ndarray) -> Averages:
        """Those of all paths; `response` is R_w."""
        error = weights - self.coordinates.teacher
        overlap = weights @ (self._share * self.coordinates.teacher)
        return Averages((error * self._share) @ error.T, response, overlap)

    def squared_norm(self, weights: np.ndarray) -> np.ndarray:
        """E[s w^2], shape (time,)."""
        return np.asarray(weights**2 @ self._share)

    def response(self, slope: np.ndarray, residual_response: np.ndarray) -> np.ndarray:
        """R_w = E[s dw/dh], from the tangent of every path."""
        from dmft.solver.classical_tangents import mean_response

        return mean_response(
            slope, residual_response, self.increment, self.coordinates.variance, self._probability,
            self.sampling_ratio,
        )  # fmt: skip


def _cut_factor(
    start: np.ndarray, moved: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """H(a) and T(a)^2 of a = e^moved |start|, whose motion a' = T(a) is linear above the level."""
    size = np.abs(start)
    # The time that a takes to the level; before and after it is its start that counts.
    with np.errstate(divide="ignore"):
        crossing = np.where(size <= level, np.log(level / size), 1.0 - size / level)
    beyond = moved - crossing
    inside = level * np.exp(np.minimum(beyond, 0.0))
    outside = level * (1.0 + np.maximum(beyond, 0.0))
    half = np.where(beyond <= 0.0, inside**2 / 2, level * outside - level**2 / 2)
    return half, np.minimum(inside, level) ** 2


def _relative_change(new: np.ndarray, old: np.ndarray) -> float:
    return float(np.abs(new - old).max() / max(np.abs(new).max(), np.finfo(float).tiny))
