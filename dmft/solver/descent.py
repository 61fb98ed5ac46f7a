"""The march of one replicate in discrete dynamics: the exact mean field of GD and mini-batch SGD.

With F the force on sqrt(s) w, e = sqrt(s) (w - w*) and rho = L xi the noise of covariance
C_w + sigma^2, the effective process at step k is
    F_k = delta e_k + sqrt(delta) (rho_k + nu_k) + sum_{l<k} R_w[k, l] F_l,
with nu white of variance N_k, the noise of mini-batches (docs/finite-steps.md). R_w is strictly
causal, so every step is explicit: no panel has to be solved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent
from dmft.solver.drive import Drive
from dmft.solver.sampling import PathSet
from dmft.solver.stepping import Diverged
from dmft.texts import words_of

_LARGEST_STATE = 64 * 2**20  # bytes of a march that go into a checkpoint
_DRIVE = ("directions", "_noise")  # directions found so far and their normals


class Descent:
    """State of one replicate after `count` steps; node k is the state before step k.

    Attributes
    ----------
    count : steps made. weights, error, force : of every path, shape (paths, nodes).
    response : R_w, shape (nodes, nodes).
    factor : R_r L on the directions of rho, shape (nodes, directions).
    batch_factor : (R_r - 1) sqrt(N), the part of the residuals that batch noise drives.
    batch_noise : N of every node. train_mse : of every node.
    factors : a and b of every path and node, shape (2, paths, nodes), None but at depth 2.
    """

    def __init__(
        self,
        problem: Problem,
        dynamics: GradientDescent | SGD,
        path_set: PathSet,
        pool: ThreadPoolExecutor | None,
        steps: int,
        largest: float,
    ) -> None:
        from dmft.solver.networks import depth_of, level_of

        self._dynamics = dynamics
        self._depth, self._level = depth_of(problem.network), level_of(problem.network)
        self._ratio = problem.sampling_ratio
        self._largest = largest
        self._noisy = dynamics.batches
        self._path_set = path_set
        self._workers = Workers(path_set.count, pool)
        self.coordinates = path_set.coordinates
        self.strata = path_set.strata
        self.probability = path_set.probability
        self.teacher = self.coordinates.teacher
        self.root_variance = np.sqrt(self.coordinates.variance)
        count, nodes = path_set.count, steps + 1
        linear = self._depth == 1
        self._a = np.zeros(count) if linear else self.coordinates.a0.copy()
        self._b = np.zeros(count) if linear else self.coordinates.b0.copy()
        self._terms = np.empty((4, count))  # powers of a and b, see networks.power_terms
        self._tangent_a, self._tangent_b = np.zeros((2, count, steps))
        self._packed = np.zeros((count, steps * (steps - 1) // 2))
        self.weights, self.error, self.force = np.zeros((3, count, nodes))
        self.response = np.zeros((nodes, nodes))
        self.batch_factor, self.batch_noise = np.zeros((nodes, nodes)), np.zeros(nodes)
        self.train_mse = np.zeros(nodes)
        self.factors = np.zeros((2, count, nodes)) if self._depth == 2 else None
        self.work = {"steps": 0.0, "tangent_flops": 0.0, "tangent_bytes": 0.0}
        self.count = 0
        self._drive = Drive(path_set, problem.noise_std)
        self._drawn: list[tuple[str, int]] = []  # what each column of the sample's noise drives
        self.factor = np.zeros((nodes, 0))
        self._observe()

    @property
    def risk(self) -> np.ndarray:
        """excess_risk on all nodes."""
        return self.probability @ self.error**2

    def noise_response(self) -> np.ndarray:
        """R_r [L, sqrt(N)] with columns in the order in which the sample's noise was drawn."""
        batches = self.batch_factor + np.diag(np.sqrt(self.batch_noise))
        direction = iter(self.factor.T)
        columns = [
            next(direction) if of == "weights" else batches[:, node] for of, node in self._drawn
        ]
        return np.array(columns).T

    def step(self) -> None:
        """One step of all paths, and the rows of the node that it leads to.

        Raises
        ------
        Diverged : the training error of the new node is beyond `largest` times its start.
        """
        from dmft.solver.descent_kernels import advance

        k, dynamics = self.count, self._dynamics
        row = self.response[k, :k]

        def move(c: slice) -> None:
            slope_a, slope_b, inner_a, inner_b = self._terms[:, c]
            advance(
                self._depth - 1, dynamics.step_size, dynamics.weight_decay, self._ratio,
                self.root_variance[c], self.force[c, k], row, slope_a, slope_b, inner_a, inner_b,
                self._a[c], self._b[c], self._tangent_a[c], self._tangent_b[c], self._packed[c],
            )  # fmt: skip

        with np.errstate(over="ignore", invalid="ignore"):
            self._workers.map(move)
        entries = float(self._path_set.count) * (k * (k + 1) // 2)
        self.work["steps"] += 1
        self.work["tangent_flops"] += 2.0 * entries
        self.work["tangent_bytes"] += 8.0 * entries
        self.count += 1
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what diverges is found below
                self._observe()
        except Diverged:
            self.count -= 1
            raise

    def saved(self) -> dict[str, Any]:
        """Everything needed to continue from here; {} where it would be a large file.

        Unlike the rows of a panel, those of a step save no work when they are known: what costs
        is to advance the tangents. So it is the tangents that are kept.
        """
        arrays = {name: part(getattr(self, name)) for name, part in self._parts().items()}
        arrays |= zip(_DRIVE, (self._drive.basis.directions, self._drive.normals), strict=True)
        if sum(array.nbytes for array in arrays.values()) > _LARGEST_STATE:
            return {}
        batches = np.array([of == "batches" for of, _ in self._drawn])
        nodes = np.array([node for _, node in self._drawn])
        more = {"count": self.count, "batches": batches, "nodes": nodes, "work": dict(self.work)}
        return {**more, **arrays}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up a state at the start of the march.

        Raises
        ------
        InputError : it comes from another version.
        """
        try:
            count, work = saved["count"], dict(saved["work"])
            drawn = list(zip(saved["batches"], saved["nodes"], strict=True))
            arrays = {name: saved[name] for name in (*self._parts(), *_DRIVE)}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"given steps of another version: {words_of(error)}", "resume"
            ) from None
        self._path_set.innovations(len(drawn) - len(self._drawn))
        self._path_set.use(len(drawn) - len(self._drawn))
        self._drawn = [("batches" if batch else "weights", int(node)) for batch, node in drawn]
        self._drive.basis.directions, self._drive.normals = map(arrays.pop, _DRIVE)
        self.count, self.work = count, work
        for name, part in self._parts().items():
            if name == "factor":  # its width is the number of directions
                self.factor = arrays[name]
            else:
                part(getattr(self, name))[...] = arrays[name]
        self._weights()

    def _parts(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """The arrays that make the state, and the part of each that is filled."""
        k, nodes = self.count, self.count + 1
        packed = k * (k - 1) // 2
        parts: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "_a": lambda a: a,
            "_b": lambda b: b,
            "_tangent_a": lambda a: a[:, :k],
            "_tangent_b": lambda b: b[:, :k],
            "_packed": lambda v: v[:, :packed],
            "weights": lambda w: w[:, :nodes],
            "error": lambda e: e[:, :nodes],
            "force": lambda f: f[:, :nodes],
            "response": lambda r: r[:nodes, :nodes],
            "factor": lambda f: f,
            "batch_factor": lambda f: f[:nodes, :nodes],
            "batch_noise": lambda n: n[:nodes],
            "train_mse": lambda m: m[:nodes],
        }
        if self.factors is not None:
            parts["factors"] = lambda f: f[:, :, :nodes]
        return parts

    def _observe(self) -> None:
        """Weights, kernels, noise and force of the present node."""
        from dmft.solver.descent_kernels import response_row

        k, past = self.count, slice(0, self.count)
        w = self._weights()
        self.weights[:, k] = w
        self.error[:, k] = self.root_variance * (w - self.teacher)
        if self.factors is not None:
            self.factors[:, :, k] = self._a, self._b
        if k:
            slope_a, slope_b = self._terms[:2]
            self.response[k, past] = self._workers.sums(
                lambda c: (
                    response_row(
                        self.probability[c], self.root_variance[c], slope_a[c], slope_b[c],
                        self._tangent_a[c], self._tangent_b[c], k,
                    ),
                )
            )[0]  # fmt: skip
        else:
            for known in (self.teacher, self.root_variance, self.error[:, 0]):
                self._path_set.learn(known)
        row = self.response[k, past]
        noise = self._residual_noise(row)
        self.force[:, k] = (
            self._ratio * self.error[:, k]
            + math.sqrt(self._ratio) * noise
            + self.force[:, past] @ row
        )

    def _weights(self) -> np.ndarray:
        """w of every path, and the terms that its step needs."""
        from dmft.solver.networks import power_terms

        w = np.empty(self._path_set.count)

        def fill(c: slice) -> None:
            slope_a, slope_b, inner_a, inner_b = self._terms[:, c]
            power_terms(
                self._depth, self._level, self._a[c], self._b[c], w[c], slope_a, slope_b,
                inner_a, inner_b,
            )  # fmt: skip

        self._workers.map(fill)
        return w

    def _residual_noise(self, row: np.ndarray) -> np.ndarray:
        """rho + nu of the present node, shape (paths,), and the rows of the residual's kernels."""
        k = self.count
        found = self._drive.basis.rows(self.error[:, k : k + 1])
        fresh = found.fresh[0, 0]
        known = found.known[0] + row @ self.factor[:k]
        if fresh > 0.0:  # a node that adds nothing needs no direction
            self._drive.basis.extend(found.directions)
            self._drive.take(self._drive.drawn(found.active))
            self._drawn.append(("weights", k))
            self.factor = np.pad(self.factor, ((0, 0), (0, 1)))
            known = np.append(known, fresh)
            loading = np.append(found.known[0], fresh)
        else:
            loading = found.known[0]
        self.factor[k] = known
        self.batch_factor[k, :k] = row @ (
            self.batch_factor[:k, :k] + np.diag(np.sqrt(self.batch_noise[:k]))
        )
        mse = float(known @ known + self.batch_factor[k] @ self.batch_factor[k])
        if not mse <= self._largest * (self.train_mse[0] if k else np.inf):
            raise Diverged
        self.train_mse[k] = mse
        noise = self._drive.normals @ loading
        if self._noisy:
            self.batch_noise[k] = self._dynamics.noise_variance(mse)
            noise += math.sqrt(self.batch_noise[k]) * self._innovation("batches", k)
        return noise

    def _innovation(self, of: str, node: int) -> np.ndarray:
        self._drawn.append((of, node))
        column = self._path_set.innovations(1)[:, 0].copy()
        self._path_set.use(1)
        return column
