"""What the runs of an ensemble leave behind, added up in the order of their seeds.

The order fixes the last digits, so runs that other processes finish early wait for their turn. The
sums of any number of runs are the state from which more runs continue to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.problem import Problem
from dmft.results.curves import curve_of
from dmft.results.overlaps import BlockSums
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels
from dmft.settings import SimulationSettings
from dmft.simulation.ensemble_state import KERNELS


@dataclass(frozen=True)
class RunSums:
    """One run: its curves by name, (time,), and its kernels, (time, time).

    kernels : in the order of `KERNELS`. parameters : E[u(t) u(s) + v(t) v(s)], None but at depth 2.
    """

    curves: dict[str, np.ndarray]
    kernels: tuple[np.ndarray, ...]
    parameters: np.ndarray | None

    def state(self) -> dict[str, Any]:
        """A tree of arrays."""
        tree: dict[str, Any] = {
            "curves": dict(self.curves),
            "kernels": dict(zip(KERNELS, self.kernels, strict=True)),
        }
        return tree if self.parameters is None else {**tree, "parameters": self.parameters}

    @classmethod
    def from_state(cls, tree: Mapping[str, Any]) -> RunSums:
        """The inverse of `state`."""
        kernels = tuple(tree["kernels"][name] for name in KERNELS)
        return cls(dict(tree["curves"]), kernels, tree.get("parameters"))


class EnsembleSums:
    """Sums over runs 0 to `count` - 1, and runs after them that were finished early.

    Parameters
    ----------
    times : length of the recorded times.
    """

    def __init__(self, times: int) -> None:
        self.count = 0
        self._kernels = [_Mean(np.zeros((times, times)), np.zeros((times, times))) for _ in KERNELS]
        self._blocks = BlockSums()
        self._curves: dict[str, list[np.ndarray]] = {}
        self._early: dict[int, RunSums] = {}

    def missing(self, runs: int) -> list[int]:
        """Numbers of the runs that are still to be made."""
        return [i for i in range(self.count, runs) if i not in self._early]

    def add(self, number: int, run: RunSums) -> None:
        """Take in a run, when its turn comes."""
        self._early[number] = run
        while self.count in self._early:
            self._add(self._early.pop(self.count))

    def _add(self, run: RunSums) -> None:
        self.count += 1
        self._blocks.add(weights=run.kernels[2], parameters=run.parameters)
        for name, values in run.curves.items():
            self._curves.setdefault(name, []).append(values)
        for mean, kernel in zip(self._kernels, run.kernels, strict=True):
            mean.add(kernel, self.count)

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, as a tree of arrays and numbers."""
        tree: dict[str, Any] = {"count": self.count}
        tree["early"] = {str(number): run.state() for number, run in self._early.items()}
        if self.count:
            tree["curves"] = {name: np.array(rows) for name, rows in self._curves.items()}
            tree["blocks"] = self._blocks.state()
            for name, mean in zip(KERNELS, self._kernels, strict=True):
                tree[name] = {"mean": mean.mean, "squares": mean.squares}
        return tree

    @classmethod
    def from_state(cls, times: int, tree: Mapping[str, Any]) -> EnsembleSums:
        """The inverse of `state`, for a state that was checked."""
        sums = cls(times)
        sums.count = tree["count"]
        early = tree["early"].items()
        sums._early = {int(number): RunSums.from_state(run) for number, run in early}
        if sums.count:
            sums._curves = {name: list(rows) for name, rows in tree["curves"].items()}
            sums._blocks = BlockSums.from_state(tree["blocks"])
            sums._kernels = [
                _Mean(np.array(tree[name]["mean"]), np.array(tree[name]["squares"]))
                for name in KERNELS
            ]
        return sums

    def simulation(
        self, problem: Problem, settings: SimulationSettings, time: np.ndarray
    ) -> Simulation:
        """Means and standard errors over the runs."""
        means = {name: mean.mean for name, mean in zip(KERNELS, self._kernels, strict=True)}
        errors = [mean.standard_error(self.count) for mean in self._kernels]
        return Simulation(
            problem=problem,
            settings=settings,
            time=time,
            seed=np.arange(settings.seeds),
            curves={name: curve_of(np.array(runs)) for name, runs in self._curves.items()},
            kernels=Kernels(
                **means,
                correlation_error_stderr=errors[0],
                correlation_residual_stderr=errors[1],
                overlap_stderr=errors[2],
            ),
            blocks=self._blocks.blocks(),
        )


@dataclass
class _Mean:
    """Running mean and sum of squared deviations (Welford), so that no array per run is kept."""

    mean: np.ndarray
    squares: np.ndarray

    def add(self, values: np.ndarray, count: int) -> None:
        before = values - self.mean
        self.mean = self.mean + before / count
        self.squares = self.squares + before * (values - self.mean)

    def standard_error(self, count: int) -> np.ndarray | None:
        if count < 2:
            return None
        return np.sqrt(self.squares / ((count - 1) * count))
