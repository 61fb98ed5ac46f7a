"""What a simulation returns: ensemble curves and kernels with standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dmft.problem import Problem
from dmft.results.overlaps import OverlapBlocks
from dmft.settings import SimulationSettings

if TYPE_CHECKING:
    from dmft.trajectory import Trajectory


@dataclass(frozen=True)
class Simulation:
    """Finite-dimensional learning curves of an ensemble of runs.

    Curves are means over seeds with standard errors of the mean (zeros are never made up: with
    one seed the errors are None). Kernels are (time, time), averaged over coordinates or samples
    and over seeds, with standard errors over seeds.

    Attributes
    ----------
    problem, settings : what was simulated, and how.
    time : recorded times, shape (time,), starting at 0.
    seed_train_mse, seed_excess_risk : curves of each seed, (seed, time).
    seed : integer identity of each run, (seed,).
    correlation_error : (1/d) sum_j s_j (w_j - w*_j)(t) (w_j - w*_j)(s).
    correlation_residual : (1/n) sum_i r_i(t) r_i(s), r = Xw - y.
    overlap : (1/d) sum_j w_j(t) w_j(s).
    blocks : overlaps of groups of runs, for errors of what is no mean; None if not kept.
    mean_charge, effective_alpha : of discrete dynamics at depth 2, as in `Solution`; else None.
    seed_mean_charge, seed_effective_alpha : of each seed, (seed, time), or None.
    """

    problem: Problem
    settings: SimulationSettings
    time: np.ndarray
    train_mse: np.ndarray
    excess_risk: np.ndarray
    train_mse_stderr: np.ndarray | None
    excess_risk_stderr: np.ndarray | None
    seed: np.ndarray
    seed_train_mse: np.ndarray
    seed_excess_risk: np.ndarray
    correlation_error: np.ndarray
    correlation_residual: np.ndarray
    overlap: np.ndarray
    correlation_error_stderr: np.ndarray | None
    correlation_residual_stderr: np.ndarray | None
    overlap_stderr: np.ndarray | None
    blocks: OverlapBlocks | None = None
    mean_charge: np.ndarray | None = None
    mean_charge_stderr: np.ndarray | None = None
    effective_alpha: np.ndarray | None = None
    effective_alpha_stderr: np.ndarray | None = None
    seed_mean_charge: np.ndarray | None = None
    seed_effective_alpha: np.ndarray | None = None

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

        return of_overlaps(self.time, self.overlap, self.blocks, of)
