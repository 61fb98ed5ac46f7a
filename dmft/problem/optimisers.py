"""Adaptive optimisers of the parameters (u, v), with PyTorch's conventions and defaults.

The gradient gp of a parameter p is that of the loss of docs/finite-steps.md; k counts steps from 0.
All are discrete dynamics: time counts steps.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dmft.problem.schedules import Constant, Schedule
from dmft.validation import Settings, register_kinds

StepSize = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0)]
Memory = Annotated[float, Field(ge=0, lt=1)]
Sampling = Literal["independent", "without-replacement", "with-replacement"]


class Adaptive(Settings):
    """What adaptive optimisers share: batches as in SGD, all samples by default.

    step_size : size of a step where gradients do not change.
    beta2 : memory of the average of squared gradients.
    epsilon : added to the root of the squared gradients, in units of a gradient.
    weight_decay : lambda of lambda p in the gradient of a parameter p.
    batch_fraction : q = batch size / n.
    label_noise_std : standard deviation of fresh noise on the labels of every batch.
    sampling : how a batch is drawn, see `SGD`.
    schedule : factor of the step size over the steps.
    """

    discrete: ClassVar[bool] = True

    batch_fraction: Fraction = 1.0
    label_noise_std: float = Field(0.0, ge=0)
    sampling: Sampling = "independent"
    schedule: Schedule = Constant()


class Adam(Adaptive):
    """p <- p - step_size m^/(sqrt(s^) + epsilon) with moving averages m of gp and s of gp^2.

    m <- beta1 m + (1-beta1) gp and s <- beta2 s + (1-beta2) gp^2; m^ = m/(1 - beta1^(k+1)) and
    s^ = s/(1 - beta2^(k+1)); gp contains weight_decay p.

    beta1 : memory of the average of gradients.
    Source: Kingma and Ba 2015 (arXiv 1412.6980), as in torch.optim.Adam.
    """

    kind: Literal["adam"] = "adam"
    step_size: StepSize = 1e-3
    beta1: Memory = 0.9
    beta2: Memory = 0.999
    epsilon: float = Field(1e-8, ge=0)
    weight_decay: Decay = 0.0


class AdamW(Adaptive):
    """p <- (1 - step_size weight_decay) p, then Adam's step without decay in the gradient.

    beta1 : memory of the average of gradients.
    weight_decay : part of a parameter that a step removes, over step_size.
    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), as in torch.optim.AdamW.
    """

    kind: Literal["adamw"] = "adamw"
    step_size: StepSize = 1e-3
    beta1: Memory = 0.9
    beta2: Memory = 0.999
    epsilon: float = Field(1e-8, ge=0)
    weight_decay: Decay = 0.01


class RMSprop(Adaptive):
    """s <- beta2 s + (1-beta2) gp^2, p <- p - step_size gp/(sqrt(s) + epsilon).

    With momentum m <- momentum m + gp/(sqrt(s) + epsilon) and p <- p - step_size m. `beta2` is the
    `alpha` of torch.optim.RMSprop.

    momentum : memory of the sum of steps.
    """

    kind: Literal["rmsprop"] = "rmsprop"
    step_size: StepSize = 0.01
    beta2: Memory = 0.99
    epsilon: float = Field(1e-8, ge=0)
    momentum: Memory = 0.0
    weight_decay: Decay = 0.0


class Adagrad(Adaptive):
    """s <- s + gp^2, p <- p - step_size gp/(sqrt(s) + epsilon), as in torch.optim.Adagrad."""

    kind: Literal["adagrad"] = "adagrad"
    step_size: StepSize = 0.01
    epsilon: float = Field(1e-10, ge=0)
    weight_decay: Decay = 0.0


register_kinds("adam", "adamw", "rmsprop", "adagrad")
