"""How accurately to solve and what to simulate: sections [solver] and [simulation] of a run."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.validation import Settings, is_finite

_MOST_TIMES = 500  # of which each ends a panel


class SolverSettings(Settings):
    """How accurately the mean-field equations are solved.

    t_max : final time, in units of the flow; in discrete dynamics the number of steps. By default
        the last of `times`, where they are given.
    times : times that results are wanted at exactly: nodes of the mean field, each of which costs
        a flow a panel at most, and all that simulations record.
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
    times: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(None, min_length=1)
    n_paths: int = Field(4096, ge=64, le=2**22)
    replicates: int = Field(4, ge=1, le=10_000)
    rtol: float = Field(1e-3, ge=1e-8, le=0.1)
    seed: int = Field(0, ge=0)
    target_error: float | None = Field(None, gt=0)
    max_replicates: int = Field(64, ge=1, le=10_000)
    active_threshold: float = Field(0.1, gt=0)

    @property
    def recorded(self) -> tuple[float, ...] | None:
        """What simulations record where `times` are given: these, and t_max."""
        times = self.times
        return times if times is None or times[-1] == self.t_max else (*times, self.t_max)

    @model_validator(mode="before")
    @classmethod
    def _until_the_last_time(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("t_max") is not None:
            return given
        last = max((t for t in _numbers(given.get("times")) if t > 0), default=None)
        return given if last is None else {**given, "t_max": last}

    @model_validator(mode="after")
    def _times_in_order(self) -> SolverSettings:
        count = len(self.times or ())
        if count > _MOST_TIMES:
            raise InputError(
                f"given {count} times, must be at most {_MOST_TIMES}; between nodes there is "
                "Solution.curve_at",
                "times",
            )
        for before, after in pairwise(self.times or ()):
            if after <= before:
                raise InputError(f"given {after:g} after {before:g}, must increase", "times")
        if self.times and self.times[-1] > self.t_max:
            raise InputError(
                f"given {self.times[-1]:g}, must be at most t_max, which is {self.t_max:g}", "times"
            )
        return self


def _numbers(values: Any) -> list[float]:
    """Those among given values, which may be anything; finite ones."""
    listed = values if isinstance(values, list | tuple) else ()
    return [value for value in listed if is_finite(value)]


class SimulationSettings(Settings):
    """Finite-dimensional ensemble that the mean field is compared with.

    dimension : d, the number of coordinates.
    seeds : independent draws of data, noise and teacher.
    seed : every random number derives from it.
    design : law of the entries of X; 'digits' takes real features of a packaged data set.
    stratified : teacher at random points of equally likely intervals, with exact mean and second
        moment, noise with exact variance; otherwise drawn i.i.d.
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
