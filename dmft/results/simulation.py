"""What a simulation returns: ensemble curves and kernels with standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.results.curves import Curves
from dmft.results.overlaps import OverlapBlocks
from dmft.results.solution import Kernels
from dmft.settings import SimulationSettings

if TYPE_CHECKING:
    from dmft.trajectory import Trajectory


@dataclass(frozen=True, eq=False, repr=False)
class Simulation(Curves):
    """Finite-dimensional learning curves of an ensemble of runs.

    Zeros are never made up: with one seed the standard errors are None.

    Units: as in `dmft.Solution`: time is that of the flow, in descent the number of steps;
    curves have the scale of the squared weights or of the loss.

    Attributes
    ----------
    problem, settings : what was simulated, and how.
    time : recorded times, shape (time,), starting at 0.
    seed : integer identity of each run, (seed,).
    curves : every observable by name, means over seeds; each is also an attribute, as are its
        standard error, `simulation.overlap_stderr`, and its runs, `simulation.seed_overlap`,
        (seed, time).
    kernels : averages over coordinates or samples and over seeds, with standard errors over seeds.
        correlation_error = (1/d) sum_j s_j (w_j - w*_j)(t) (w_j - w*_j)(s),
        correlation_residual = (1/n) sum_i r_i(t) r_i(s) with r = dl/dh (Xw - y for the squared
        loss), overlap = (1/d) sum_j w_j(t) w_j(s); no responses.
    blocks : overlaps of groups of runs, for errors of what is no mean; None if not kept.
    """

    runs_prefix = "seed_"

    problem: Problem
    settings: SimulationSettings
    seed: np.ndarray
    kernels: Kernels
    blocks: OverlapBlocks | None = None

    def curve_at(self, name: str, times: ArrayLike) -> Any:
        """A curve between its recorded times, linear in log t; of discrete dynamics at steps only.

        Parameters
        ----------
        name : of one of `curves`, or that with "_stderr".
        times : in [0, time[-1]], units of the flow; one number gives a number.

        Raises
        ------
        InputError : an unknown curve, a time outside, or a step that was not recorded.
        """
        curve = self._curve(name.removesuffix("_stderr"))
        values = curve.stderr if name.endswith("_stderr") else curve.mean
        if values is None:
            raise InputError("one seed has no error bar, take at least two", name)
        at = np.asarray(times, dtype=float)
        outside = at[~((at >= 0.0) & (at <= self.time[-1]))]
        if outside.size:
            raise InputError(f"given {outside.flat[0]:g}, must be 0 to {self.time[-1]:g}", "times")
        between = at[~np.isin(at, self.time)]
        if self.problem.dynamics.discrete and between.size:
            raise InputError(f"given {between.flat[0]:g}, must be recorded steps", "times")
        first = self.time[1] if len(self.time) > 1 else 1.0
        found = np.interp(np.log1p(at / first), np.log1p(self.time / first), values)
        return float(found) if at.ndim == 0 else found

    def trajectory_map(self, of: Literal["weights", "parameters"] = "weights") -> Trajectory:
        """Maps, angles, lengths and similarity of the trajectories, averaged over the runs.

        The kernels of the runs are averaged before cosines are taken; the error bars are a
        jackknife over runs. Norms and lengths are per coordinate.

        Parameters
        ----------
        of : "weights" for w, "parameters" for (u, v) of a network of depth 2.

        Raises
        ------
        InputError : an unknown `of`, or kernels that this simulation does not hold.
        """
        from dmft.trajectory.kernels import of_overlaps

        return of_overlaps(self.time, self.kernels.overlap, self.blocks, of)
