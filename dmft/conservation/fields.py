"""Generators of the gradient flows of a network, and their Lie brackets, at one point.

A generator is X(theta) = gradient of <w, g(theta, x)> for one input x and one cotangent w. The
bracket [X, Y] = dX Y - dY X needs directional derivatives only, which are coefficients of a
nilpotent: X(theta + eps Y) = X(theta) + eps dX Y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmft.conservation.draws import Draws, join
from dmft.conservation.dynamics import size_of, velocity
from dmft.conservation.rings import Ring
from dmft.conservation.tensor import Tensor, backward
from dmft.errors import NotConverged

if TYPE_CHECKING:
    from dmft.conservation.architectures.base import Architecture

_CANDIDATES = 2048  # evaluations per attempt at finding data whose square roots exist
_ATTEMPTS = 400
_MOST_ROOTS = 32  # more of them are hopeless even after choosing the point
_NO_ROOTS = (
    "found no data for which all square roots of the norms exist in the prime field; take fewer"
    " tokens, heads or layers, or count in float64"
)
_CLIMBS = 400  # proposals for a point where enough sequences of classes have their roots


class Fields:
    """Generators of an architecture around one random point.

    Parameters
    ----------
    architecture : what is evaluated.
    ring : prime field, or reals.
    seed : of the point, the constants and all data.

    Attributes
    ----------
    point : (1, 1, D) the parameters, or the state of the flow; square roots of a network exist
        there for the data drawn.
    assumptions : what the evaluations have taken for granted.
    """

    def __init__(self, architecture: Architecture, ring: Ring, seed: int) -> None:
        self.architecture = architecture
        self.ring = ring
        self.shapes = architecture.state()
        self.dimension = size_of(self.shapes)
        self.key = seed
        self.assumptions: set[str] = set()
        self._rng = np.random.default_rng(seed)
        self._has_roots = False
        self._pool: Draws | None = None
        self.point = self._choose_point()

    def generators(self, batch: int) -> Draws:
        """Data and cotangents of `batch` random generators, whose square roots exist at `point`."""
        if not self._has_roots:
            return Draws(self.ring, self._rng, batch, self.key)
        if self._pool is None:
            self._pool = self._fill_pool()
        return self._pool.select(self._rng.integers(0, self._pool.batch, batch))

    def points(self, batch: int) -> tuple[np.ndarray, Draws]:
        """Random points (1, batch, D), each with the data of one generator.

        Raises
        ------
        NotConverged : the network has so many square roots that they hardly ever all exist.
        """
        points = self.ring.random(self._rng, (1, batch, self.dimension))
        draws = Draws(self.ring, self._rng, batch, self.key)
        if not self._has_roots:
            return points, draws
        self._output(draws, points)
        self._refuse_hopeless(draws)
        found: list[tuple[np.ndarray, Draws]] = []
        for _ in range(_ATTEMPTS):
            found.append((points[:, draws.valid], draws.select(draws.valid)))
            if sum(part[1].batch for part in found) >= batch:
                joined = join([part[1] for part in found])
                points = np.concatenate([part[0] for part in found], axis=1)
                return points[:, :batch], joined.select(np.arange(batch))
            points = self.ring.random(self._rng, (1, _CANDIDATES, self.dimension))
            draws = Draws(self.ring, self._rng, _CANDIDATES, self.key)
            self._output(draws, points)
        raise NotConverged(_NO_ROOTS)

    def _refuse_hopeless(self, draws: Draws) -> None:
        if draws.roots > math.log2(_ATTEMPTS * _CANDIDATES):
            raise NotConverged(_NO_ROOTS)

    def _choose_point(self) -> np.ndarray:
        """A random point at which some data have their square roots.

        Data made of classes are few, and most would be lost. The point is then improved row by
        row until roots exist for many of them; a rank bounds the generic one at any point.
        """
        point = self.ring.random(self._rng, (1, 1, self.dimension))
        draws = Draws(self.ring, self._rng, 1, self.key)
        self._output(draws, point)
        self._has_roots = draws.roots > 0
        if not self._has_roots:
            return point
        if draws.continuous:
            return self.points(1)[0]
        draws = Draws(self.ring, self._rng, _CANDIDATES // 4, self.key)
        self._output(draws, point)
        draws = draws.distinct()
        if draws.roots > _MOST_ROOTS:
            raise NotConverged(_NO_ROOTS)
        names = list(self.architecture.parameters())
        best = self._score(draws, point)
        for _ in range(_CLIMBS):
            if best > draws.batch / 2:
                break
            proposal = point.copy()
            part = self.split(proposal)[names[self._rng.integers(len(names))]][0, 0]
            row = self._rng.integers(len(part))
            part[row] = self.ring.random(self._rng, part[row].shape)
            score = self._score(draws, proposal)
            if score >= best:
                best, point = score, proposal
        self._output(draws, point)
        if not len(draws.valid):
            raise NotConverged(_NO_ROOTS)
        return point

    def _score(self, draws: Draws, point: np.ndarray) -> float:
        """Number of evaluations with all their roots; others count by how many they miss."""
        self._output(draws, point)
        return float((0.125**draws.missing).sum())

    def _fill_pool(self) -> Draws:
        found: list[Draws] = []
        for _ in range(_ATTEMPTS):
            draws = Draws(self.ring, self._rng, _CANDIDATES, self.key)
            outputs = self._output(draws, self.point)
            if draws.continuous:
                self._refuse_hopeless(draws)
            wanted = max(24, 2 * self.dimension // math.prod(outputs.shape))
            found.append(draws.select(draws.valid))
            if sum(part.batch for part in found) >= wanted:
                return join(found)
        raise NotConverged(_NO_ROOTS)

    def _output(self, draws: Draws, theta: np.ndarray) -> Tensor:
        tensors = {name: Tensor(self.ring, part) for name, part in self.split(theta).items()}
        output = self.architecture.forward(tensors, draws.restart())
        self.assumptions |= draws.assumptions
        return output

    def split(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Named parts of states (components, batch, D), as views with axes (.., .., *shape)."""
        parts, position = {}, 0
        for name, shape in self.shapes.items():
            size = math.prod(shape)
            part = theta[..., position : position + size]
            parts[name] = part.reshape(*theta.shape[:-1], *shape)
            position += size
        return parts

    def generator(self, draws: Draws, theta: np.ndarray) -> np.ndarray:
        """The fields of `draws` at multi-dual points (components, 1 or batch, D)."""
        state = self.split(theta)
        tensors = {
            name: Tensor(self.ring, state[name], tracked=True)
            for name in self.architecture.parameters()
        }
        output = self.architecture.forward(tensors, draws.restart())
        zero_sum = self.architecture.loss == "cross-entropy"
        seed = draws.cotangent(output.shape, zero_sum)
        gradients = backward(output, seed, list(tensors.values()))
        force = np.zeros((len(theta), draws.batch, self.architecture.dimension), self.ring.dtype)
        position = 0
        for gradient in gradients:
            size = math.prod(gradient.shape[2:])
            part = gradient.reshape(*gradient.shape[:2], size)
            force[: len(part), :, position : position + size] = part
            position += size
        rate = draws.rate() if self.architecture.flow in ("weight-decay", "momentum") else None
        self.assumptions |= draws.assumptions
        return velocity(self.architecture.flow, self.ring, force, theta, rate)

    def bracket(self, generators: Sequence[Draws], theta: np.ndarray) -> np.ndarray:
        """[X_n, [.. [X_2, X_1]]] of the given generators, at multi-dual points."""
        *inner, last = generators
        if not inner:
            return self.generator(last, theta)
        half = len(theta)
        x = self.generator(last, theta)
        y = self.bracket(inner, _with_nilpotent(theta, x))
        derivative_of_y = y[half:]
        derivative_of_x = self.generator(last, _with_nilpotent(theta, y[:half]))[half:]
        return self.ring.add(derivative_of_x, self.ring.negative(derivative_of_y))


def _with_nilpotent(theta: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """theta + eps direction with one nilpotent more."""
    shape = (2 * len(theta), max(theta.shape[1], direction.shape[1]), theta.shape[2])
    out = np.empty(shape, theta.dtype)
    out[: len(theta)] = theta
    out[len(theta) :] = direction
    return out
