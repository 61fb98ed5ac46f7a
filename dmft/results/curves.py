"""Curves over time with their errors, and the way results give access to them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dmft.errors import InputError
from dmft.results.arrays import lock, same
from dmft.results.observables import OBSERVABLES

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Curve:
    """An observable over time.

    mean : average over replicates or seeds, shape (time,).
    stderr : its standard error, shape (time,), or None with one run.
    runs : of each replicate or seed, shape (run, time), or None where they were not kept.
    """

    mean: np.ndarray
    stderr: np.ndarray | None = None
    runs: np.ndarray | None = None

    def __post_init__(self) -> None:
        lock(self)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, repr=False)
class Curves:
    """Base of results: `result.NAME`, `result.NAME_stderr` and, for runs, `result.PREFIX_NAME`.

    Two results are equal if they solve the same problem with the same settings and hold the same
    arrays, whatever it took. Arrays are read-only.

    Attributes
    ----------
    curves : what was computed, by name, in the order of the table of observables. A name of the
        table that a problem does not have is None as an attribute.
    time : shape (time,), starting at 0.
    """

    runs_prefix: ClassVar[str] = ""

    curves: Mapping[str, Curve]
    time: np.ndarray

    def __post_init__(self) -> None:
        lock(self)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]

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

    @property
    def runs(self) -> int:
        """Replicates or seeds that the curves are means of."""
        kept = self.curves["excess_risk"].runs
        return 1 if kept is None else len(kept)

    def interval(
        self, name: str = "excess_risk", level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Confidence interval of a curve at all times: Student t over the runs.

        Raises
        ------
        InputError : an unknown curve, a level outside (0, 1), or a result of one run.
        """
        from scipy.stats import t

        if not 0 < level < 1:
            raise InputError(f"given {level}, must be between 0 and 1", "level")
        curve = self._curve(name)
        if curve.stderr is None:
            raise InputError("one run has no error bar, take at least two", name)
        half = t.ppf(0.5 + level / 2, self.runs - 1) * curve.stderr
        return curve.mean - half, curve.mean + half

    def to_xarray(self) -> xarray.DataTree:
        """The result as it is stored: a tree with labelled axes, kernels in a group of their own.

        Raises
        ------
        InputError : xarray is not installed.
        """
        from dmft.results.frames import to_xarray

        return to_xarray(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """Curves and their standard errors as columns, the time as index.

        Raises
        ------
        InputError : pandas is not installed.
        """
        from dmft.results.frames import to_dataframe

        return to_dataframe(self)

    def plot(self, names: str | Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
        """Draw curves with their 95 % intervals, see `dmft.plotting.plot_curves`.

        Parameters
        ----------
        names : of `curves`; the errors and losses among the main curves by default.
        ax : matplotlib axes to draw into; new ones by default.

        Raises
        ------
        InputError : an unknown curve.
        """
        from dmft.plotting import plot_curves

        return plot_curves(self, names, ax)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        from dmft.results.display import text

        return text(self)

    def _repr_html_(self) -> str:
        from dmft.results.display import html

        return html(self)

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

    def _curve(self, name: str) -> Curve:
        """The curve, or an error that names those there are."""
        if name not in self.curves:
            raise InputError(f"given '{name}', allowed: {', '.join(self.curves)}", "name")
        return self.curves[name]


def curve_of(runs: np.ndarray) -> Curve:
    """Mean and standard error over runs, shape (run, time)."""
    count = len(runs)
    error = runs.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None
    return Curve(runs.mean(axis=0), error, runs)
