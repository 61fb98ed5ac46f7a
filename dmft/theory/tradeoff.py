"""Speed against generalisation: (lambda_min, excess_risk) as the start varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.networks import DEEP, DEPTH_TWO
from dmft.problem.problem import require_squared
from dmft.theory.least_norm import LeastNorm, basis_pursuit, minimum_l2
from dmft.theory.prediction import Prediction, predict


@dataclass(frozen=True)
class TradeOff:
    """The curve and its ends; arrays have shape (start,).

    Attributes
    ----------
    init_scale : alpha, the start.
    relaxation_rate : lambda_min, which goes to 0 as alpha does.
    excess_risk : of the limit.
    l1, l2 : the minimum norm interpolators at the ends alpha -> 0 and alpha -> infinity.
    """

    init_scale: np.ndarray
    relaxation_rate: np.ndarray
    excess_risk: np.ndarray
    l1: LeastNorm
    l2: float


def trade_off(problem: Problem, init_scale: ArrayLike | None = None) -> TradeOff:
    """Rates and risks of interpolators over a range of starts.

    Units: rates in inverse time of the flow, risks in squared weights.

    Parameters
    ----------
    problem : its own start does not matter.
    init_scale : starts; by default 50 from 1e-5 to 1e2.

    Raises
    ------
    InputError : delta >= 1 or weight decay (no family of interpolators), or a linear network.
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    if problem.network.code not in (DEPTH_TWO, DEEP):
        raise InputError(f"given '{problem.network.kind}', known here for: diagonal",
                         "problem.network")  # fmt: skip
    l2 = minimum_l2(problem).excess_risk  # refuses what has no interpolators
    starts = np.geomspace(1e-5, 1e2, 50) if init_scale is None else np.asarray(init_scale, float)
    if starts.ndim != 1 or not np.all(np.isfinite(starts) & (starts > 0)):
        raise InputError("given starts that are not positive numbers", "init_scale")
    found: list[Prediction] = []
    for start in starts.tolist():
        given = {"init_scale": start, "init_u": None, "init_v": None}
        network = problem.network.model_copy(update=given)
        near = found[-1] if found else None
        found.append(predict(problem.model_copy(update={"network": network}), near))
    return TradeOff(
        init_scale=starts,
        relaxation_rate=np.array([each.relaxation_rate for each in found]),
        excess_risk=np.array([each.excess_risk for each in found]),
        l1=basis_pursuit(problem),
        l2=l2,
    )
