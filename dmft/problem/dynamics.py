"""How the weights move: gradient flow, descent by steps, mini-batch SGD and the flow it tends to.

The loss is 1/2 |Xw - y|^2 + (weight_decay/2) |parameters|^2. In discrete dynamics time counts
steps; that of a flow is step_size times the number of steps.

Whoever has to know what a dynamics is like asks it, so that a new one must answer:
discrete : whether it goes by steps.
diffusive : whether white noise drives it, a limit that no finite network has.
batches : of steps, whether they may see a part of the samples, or noise on the labels.
coordinatewise : of steps, whether every parameter has a step size of its own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.problem.optimisers import Fraction, Memory, Optimiser, Sampling, StepSize
from dmft.problem.schedules import Constant, Schedule
from dmft.problem.user_optimiser import UserOptimiser
from dmft.validation import Settings, default_kind, register_kinds

Curve = TypeVar("Curve", float, np.ndarray)

_MOST_STORED = 256
_MOST_STEPS = 10_000_000


class GradientFlow(Settings):
    """Gradient flow of 1/2 |Xw - y|^2 + (weight_decay/2) |parameters|^2.

    weight_decay : lambda of (lambda/2) |parameters|^2 beside the loss.
    """

    discrete: ClassVar[Literal[False]] = False
    diffusive: ClassVar[Literal[False]] = False

    kind: Literal["gradient-flow"] = "gradient-flow"
    weight_decay: float = Field(0.0, ge=0)


class _Descent(Settings):
    """What descent by steps along the gradient shares, as in torch.optim.SGD.

    momentum : beta of m <- beta m + gradient, p <- p - step_size m, for every parameter p of
        (u, v) with the decay in its gradient.
    nesterov : p <- p - step_size (gradient + beta m) instead.
    schedule : factor of the step size over the steps.
    """

    discrete: ClassVar[Literal[True]] = True
    diffusive: ClassVar[Literal[False]] = False
    coordinatewise: ClassVar[Literal[False]] = False

    momentum: Memory = 0.0
    nesterov: bool = False
    schedule: Schedule = Constant()

    @model_validator(mode="after")
    def _momentum_first(self) -> _Descent:
        if self.nesterov and self.momentum == 0.0:
            raise InputError("given true with momentum 0, needs momentum > 0", "nesterov")
        return self


class GradientDescent(_Descent):
    """Gradient descent: parameters <- parameters - step_size * gradient.

    step_size : eta, time of the flow that one step takes.
    weight_decay : lambda of (lambda/2) |parameters|^2 beside the loss.
    """

    batches: ClassVar[Literal[False]] = False

    kind: Literal["gradient-descent"] = "gradient-descent"
    step_size: StepSize = 0.1
    weight_decay: float = Field(0.0, ge=0)

    def noise_variance(self, train_mse: Curve) -> Curve:
        """N: gradient descent is exact."""
        return 0.0 * train_mse


class _MiniBatches(Settings):
    """What stochastic dynamics share: how a batch is drawn.

    step_size : eta, time of the flow that one step takes.
    weight_decay : lambda of (lambda/2) |parameters|^2 beside the loss.
    batch_fraction : q = batch size / n. The gradient of a step is that of the batch over q.
    label_noise_std : standard deviation D of fresh noise on the labels of every batch.
    sampling : 'independent': every sample enters a step with probability q;
        'without-replacement': q n distinct samples; 'with-replacement': q n draws from all.
    """

    step_size: StepSize = 0.1
    batch_fraction: Fraction = 0.1
    label_noise_std: float = Field(0.0, ge=0)
    sampling: Sampling = "independent"
    weight_decay: float = Field(0.0, ge=0)

    def noise_variance(self, train_mse: Curve) -> Curve:
        """N of docs/finite-steps.md: variance of a sample's residual that batches add in a step.

        A sample enters m times, E[m] = q; (m/q) r has the variance Var(m)/q^2 r^2 around r, and
        fresh label noise adds E[m]/q^2 D^2. Var(m) is q (1-q), or q with replacement.
        """
        q = self.batch_fraction
        kept = 1.0 if self.sampling == "with-replacement" else 1.0 - q
        return (kept * train_mse + self.label_noise_std**2) / q


class SGD(_MiniBatches, _Descent):
    """Mini-batch stochastic gradient descent."""

    batches: ClassVar[Literal[True]] = True

    kind: Literal["sgd"] = "sgd"


class StochasticGradientFlow(_MiniBatches):
    """SGD in the limit of small steps at fixed step_size/batch_fraction.

    Gradient flow with white noise of intensity step_size * N(t) on the residuals. Its time is that
    of the flow: step_size times the number of steps.
    """

    discrete: ClassVar[Literal[False]] = False
    diffusive: ClassVar[Literal[True]] = True

    kind: Literal["stochastic-gradient-flow"] = "stochastic-gradient-flow"


Dynamics = Annotated[
    GradientFlow | GradientDescent | SGD | StochasticGradientFlow | Optimiser | UserOptimiser,
    Field(discriminator="kind"),
    default_kind("gradient-flow"),
]
register_kinds("gradient-flow", "gradient-descent", "sgd", "stochastic-gradient-flow")


def require_gradient_flow(
    dynamics: Dynamics,
    allowed: str = "predictions are those of 'gradient-flow', its limit for small steps; "
    "solve this one",
) -> None:
    """Refuse what a theory of gradient flow does not cover; `allowed` says what it does.

    Raises
    ------
    InputError : any other dynamics.
    """
    if not isinstance(dynamics, GradientFlow):
        raise InputError(f"given '{dynamics.kind}', {allowed}", "dynamics.kind")


def step_count(t_max: float, location: str = "solver.t_max") -> int:
    """The number of steps that `t_max` of discrete dynamics means.

    Raises
    ------
    InputError : `t_max` is no whole number, or more than ten million.
    """
    if t_max > _MOST_STEPS:
        raise InputError(
            f"given {t_max:g} steps, must be at most {_MOST_STEPS:g}; a flow, dynamics.kind = "
            "'gradient-flow' or 'stochastic-gradient-flow', costs little more for long times",
            location,
        )
    if t_max < 1.0 or t_max != int(t_max):
        raise InputError(
            f"given {t_max:g}, must be a whole number of steps in discrete dynamics", location
        )
    return int(t_max)


def stored_steps(steps: int) -> list[int]:
    """The steps, from 0 to `steps`, whose curves and kernels are kept: all, or some 256.

    Of many steps the first are kept, and then steps at equal distances in their logarithm. The
    stored steps of a longer run up to a given one are not those of the shorter.
    """
    if steps < _MOST_STORED:
        return list(range(steps + 1))
    kept = set(range(_MOST_STORED // 4))
    ratio = steps / (_MOST_STORED // 4)
    kept |= {
        round(_MOST_STORED // 4 * ratio ** (i / (3 * _MOST_STORED // 4)))
        for i in range(3 * _MOST_STORED // 4 + 1)
    }
    return sorted(kept)
