"""The one place that chooses how a problem is marched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent, StochasticGradientFlow
from dmft.problem.schedules import Constant
from dmft.settings import SolverSettings
from dmft.solver.scheme import Scheme

_MOST_TRACED = 128  # steps whose tangents pay, measured in docs/optimisers.md


def scheme_of(
    problem: Problem, settings: SolverSettings, pool: ThreadPoolExecutor | None
) -> Scheme:
    """The scheme that a problem asks for.

    Raises
    ------
    InputError : no scheme knows its loss, labels or optimiser yet.
    """
    from dmft.problem.problem import require_squared

    if problem.dynamics.discrete:
        if tangents_pay(problem, settings.t_max):
            from dmft.solver.steps import Steps

            return Steps(problem, settings, pool)
        from dmft.solver.tangent_free import TangentFree

        return TangentFree(problem, settings)
    require_squared(problem)
    if isinstance(problem.dynamics, StochasticGradientFlow):
        from dmft.solver.noisy_flow import NoisyFlow
        from dmft.solver.panels import PanelScheme

        return PanelScheme(settings, NoisyFlow(problem, pool))
    from dmft.solver.flow import PlainFlow
    from dmft.solver.panels import PanelScheme

    return PanelScheme(settings, PlainFlow(problem, pool))


def tangents_pay(problem: Problem, steps: float) -> bool:
    """Whether steps are marched with tangents: few of them, of plain descent on a squared loss.

    Beyond some hundred steps the tangent-free march reaches the same standard error for less.
    """
    dynamics = problem.dynamics
    plain = (
        isinstance(dynamics, GradientDescent | SGD)
        and dynamics.momentum == 0.0
        and dynamics.schedule == Constant()
    )
    return problem.regression and plain and steps <= _MOST_TRACED
