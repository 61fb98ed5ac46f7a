"""How accurately to solve and what to simulate: sections [solver] and [simulation] of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dmft.validation import Settings


class SolverSettings(Settings):
    """How accurately the mean-field equations are solved.

    t_max : final time, in units of the flow; in discrete dynamics the number of steps.
    n_paths : paths of the effective process per replicate.
    replicates : independent replicates; the error bars come from their spread.
    rtol : relative error allowed to the time discretisation.
    seed : every random number derives from it.
    target_error : if given, replicates are added until the relative standard error of
        excess_risk is below it at all times, up to `max_replicates`.
    max_replicates : most replicates that target_error may lead to.
    active_threshold : |w| above which a weight counts as active in `active_fraction` and the rates.
    """

    t_max: float = Field(100.0, gt=0)
    n_paths: int = Field(4096, ge=64, le=2**22)
    replicates: int = Field(4, ge=1, le=10_000)
    rtol: float = Field(1e-3, ge=1e-8, le=0.1)
    seed: int = Field(0, ge=0)
    target_error: float | None = Field(None, gt=0)
    max_replicates: int = Field(64, ge=1, le=10_000)
    active_threshold: float = Field(0.1, gt=0)


class SimulationSettings(Settings):
    """Finite-dimensional ensemble that the mean field is compared with.

    dimension : d, the number of coordinates.
    seeds : independent draws of data, noise and teacher.
    seed : every random number derives from it.
    design : law of the entries of X; 'digits' takes real features of a packaged data set.
    stratified : teacher at stratified quantiles with exact second moment, noise with exact
        variance; otherwise drawn i.i.d.
    rtol : relative error allowed to the integrator.
    points : number of recorded times, spaced logarithmically up to solver.t_max.
    active_threshold : |w| above which a weight counts as active in `active_fraction` and the rates.
    """

    dimension: int = Field(2000, ge=2, le=200_000)
    seeds: int = Field(8, ge=1, le=100_000)
    seed: int = Field(0, ge=0)
    design: Literal["gaussian", "rademacher", "sparse", "digits"] = "gaussian"
    stratified: bool = True
    rtol: float = Field(1e-4, ge=1e-10, le=0.01)
    points: int = Field(40, ge=2, le=1000)
    active_threshold: float = Field(0.1, gt=0)
