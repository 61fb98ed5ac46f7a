"""The one place that chooses how a problem is marched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dmft.problem import Problem
from dmft.problem.dynamics import StochasticGradientFlow
from dmft.settings import SolverSettings
from dmft.solver.scheme import Scheme


def scheme_of(
    problem: Problem, settings: SolverSettings, pool: ThreadPoolExecutor | None
) -> Scheme:
    """The scheme that a problem asks for.

    Raises
    ------
    InputError : no scheme knows its loss, labels or optimiser yet.
    """
    from dmft.problem.problem import require_plain_steps, require_squared

    require_squared(problem)
    require_plain_steps(problem)
    if problem.dynamics.discrete:
        from dmft.solver.steps import Steps

        return Steps(problem, settings, pool)
    if isinstance(problem.dynamics, StochasticGradientFlow):
        from dmft.solver.noisy_flow import NoisyFlow
        from dmft.solver.panels import PanelScheme

        return PanelScheme(settings, NoisyFlow(problem, pool))
    from dmft.solver.flow import PlainFlow
    from dmft.solver.panels import PanelScheme

    return PanelScheme(settings, PlainFlow(problem, pool))
