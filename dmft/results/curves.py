"""Curves over time with their errors, and the way results give access to them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dmft.results.observables import OBSERVABLES


@dataclass(frozen=True)
class Curve:
    """An observable over time.

    mean : average over replicates or seeds, shape (time,).
    stderr : its standard error, shape (time,), or None with one run.
    runs : of each replicate or seed, shape (run, time), or None where they were not kept.
    """

    mean: np.ndarray
    stderr: np.ndarray | None = None
    runs: np.ndarray | None = None


@dataclass(frozen=True)
class Curves:
    """Base of results: `result.NAME`, `result.NAME_stderr` and, for runs, `result.PREFIX_NAME`.

    Attributes
    ----------
    curves : what was computed, by name, in the order of the table of observables. A name of the
        table that a problem does not have is None as an attribute.
    """

    runs_prefix: ClassVar[str] = ""

    curves: Mapping[str, Curve]

    @property
    def train_mse(self) -> np.ndarray:
        """Mean square of h - y over the samples, shape (time,)."""
        return self.curves["train_mse"].mean

    @property
    def train_mse_stderr(self) -> np.ndarray | None:
        """Standard error of train_mse, or None with one run."""
        return self.curves["train_mse"].stderr

    @property
    def excess_risk(self) -> np.ndarray:
        """E[s (w - w*)^2], shape (time,)."""
        return self.curves["excess_risk"].mean

    @property
    def excess_risk_stderr(self) -> np.ndarray | None:
        """Standard error of excess_risk, or None with one run."""
        return self.curves["excess_risk"].stderr

    def __getattr__(self, name: str) -> Any:
        curves = self.__dict__.get("curves", {})
        part, base = "mean", name
        if name.endswith("_stderr"):
            part, base = "stderr", name.removesuffix("_stderr")
        elif self.runs_prefix and name.startswith(self.runs_prefix):
            part, base = "runs", name.removeprefix(self.runs_prefix)
        if base in curves:
            return getattr(curves[base], part)
        if base in OBSERVABLES:
            return None
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        names = [*self.curves, *(f"{name}_stderr" for name in self.curves)]
        return [*super().__dir__(), *names]


def curve_of(runs: np.ndarray) -> Curve:
    """Mean and standard error over runs, shape (run, time)."""
    count = len(runs)
    error = runs.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None
    return Curve(runs.mean(axis=0), error, runs)
