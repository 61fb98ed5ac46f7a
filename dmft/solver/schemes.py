"""The one place that chooses how a problem is marched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import (
    SGD,
    GradientDescent,
    GradientFlow,
    StochasticGradientFlow,
    step_count,
)
from dmft.problem.problem import require_squared
from dmft.problem.schedules import Constant
from dmft.settings import SolverSettings
from dmft.solver.scheme import Scheme

_LATEST = 1e100  # time of a flow
_MOST_TRACED = 128  # steps whose tangents pay, measured in docs/optimisers.md


def scheme_of(
    problem: Problem, settings: SolverSettings, pool: ThreadPoolExecutor | None
) -> Scheme:
    """The scheme that a problem asks for.

    Raises
    ------
    InputError : no scheme knows its loss, labels or optimiser yet; a flow to no sensible time.
    TypeError : a dynamics without a scheme.
    """
    dynamics = problem.dynamics
    if dynamics.discrete:
        for time in filter(None, settings.times or ()):
            step_count(time, "solver.times")
        if isinstance(dynamics, GradientDescent | SGD) and _tangents_pay(
            problem, dynamics, settings
        ):
            from dmft.solver.steps import Steps

            return Steps(problem, dynamics, settings, pool)
        from dmft.solver.tangent_free import TangentFree

        return TangentFree(problem, settings)
    from dmft.solver.panels import PanelScheme

    if settings.t_max > _LATEST:
        given = "times" if settings.times and settings.times[-1] > _LATEST else "t_max"
        raise InputError(
            f"given {settings.t_max:g}, must be at most {_LATEST:g}: all has come to rest long "
            "before, and panels to a later time would take minutes",
            f"solver.{given}",
        )
    if isinstance(dynamics, StochasticGradientFlow):
        from dmft.solver.noisy_flow import NoisyFlow

        require_squared(problem)
        return PanelScheme(settings, NoisyFlow(problem, dynamics, pool), pool)
    if not isinstance(dynamics, GradientFlow):
        raise TypeError(f"no scheme for {dynamics!r}")
    if problem.regression:
        from dmft.solver.flow import PlainFlow

        return PanelScheme(settings, PlainFlow(problem, settings.n_paths, pool), pool)
    from dmft.solver.two_sided_flow import TwoSidedFlow

    _require_smooth(problem)
    return PanelScheme(settings, TwoSidedFlow(problem, settings.n_paths, pool), pool)


def _tangents_pay(
    problem: Problem, dynamics: GradientDescent | SGD, settings: SolverSettings
) -> bool:
    """Whether steps are marched with tangents: few of them, of plain descent on a squared loss.

    Beyond some hundred steps the tangent-free march reaches the same standard error for less.
    """
    plain = dynamics.momentum == 0.0 and dynamics.schedule == Constant()
    return problem.regression and plain and settings.t_max <= _MOST_TRACED


def _require_smooth(problem: Problem) -> None:
    """Refuse a loss whose flow rests on a kink, where no panel can follow it."""
    if problem.loss.kind == "hinge":
        raise InputError(
            "given 'hinge' with dynamics 'gradient-flow', allowed: squared, logistic, huber, "
            "poisson; or take steps, dynamics.kind = 'gradient-descent'",
            "problem.loss.kind",
        )
