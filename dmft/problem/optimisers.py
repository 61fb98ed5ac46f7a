"""Adaptive optimisers of the parameters (u, v), with PyTorch's conventions and defaults.

The gradient gp of a parameter p is that of the loss of docs/finite-steps.md; k counts steps from 0.
All are discrete dynamics: time counts steps. Every class has its rule for arrays, with which finite
networks train; the mean field has compiled ones, written apart (solver/optimisers.py).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
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

    discrete: ClassVar[Literal[True]] = True
    diffusive: ClassVar[Literal[False]] = False
    batches: ClassVar[Literal[True]] = True
    coordinatewise: ClassVar[Literal[True]] = True

    batch_fraction: Fraction = 1.0
    label_noise_std: float = Field(0.0, ge=0)
    sampling: Sampling = "independent"
    schedule: Schedule = Constant()

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """Parameters p (rows, d) after step k of this size.

        memory : what the rule keeps between steps, empty before the first, changed in place.
        """
        raise NotImplementedError


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

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        return _adam(self, p, gradient + self.weight_decay * p, k, step, memory)


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

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        return _adam(self, (1.0 - step * self.weight_decay) * p, gradient, k, step, memory)


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

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        gradient = gradient + self.weight_decay * p
        memory["square"] = self.beta2 * memory.get("square", 0.0) + (1.0 - self.beta2) * gradient**2
        scaled = _scaled(gradient, memory["square"], self.epsilon)
        memory["steps"] = self.momentum * memory.get("steps", 0.0) + scaled
        return np.asarray(p - step * memory["steps"])


class Adagrad(Adaptive):
    """s <- s + gp^2, p <- p - step_size gp/(sqrt(s) + epsilon), as in torch.optim.Adagrad."""

    kind: Literal["adagrad"] = "adagrad"
    step_size: StepSize = 0.01
    epsilon: float = Field(1e-10, ge=0)
    weight_decay: Decay = 0.0

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        gradient = gradient + self.weight_decay * p
        memory["square"] = memory.get("square", 0.0) + gradient**2
        return p - step * _scaled(gradient, memory["square"], self.epsilon)


class SignDescent(Adaptive):
    """p <- (1 - step_size weight_decay) p - step_size sign(m), m <- momentum m + (1-momentum) gp.

    A parameter whose m is 0 only decays.

    momentum : memory of the average of gradients.
    weight_decay : part of a parameter that a step removes, over step_size.
    Source: Bernstein et al. 2018 (arXiv 1802.04434), signSGD and Signum.
    """

    kind: Literal["sign"] = "sign"
    step_size: StepSize = 1e-3
    momentum: Memory = 0.0
    weight_decay: Decay = 0.0

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        average = self.momentum * memory.get("mean", 0.0) + (1.0 - self.momentum) * gradient
        memory["mean"] = average
        return np.asarray((1.0 - step * self.weight_decay) * p - step * np.sign(average))


def _adam(
    of: Adam | AdamW,
    p: np.ndarray,
    gradient: np.ndarray,
    k: int,
    step: float,
    memory: dict[str, Any],
) -> np.ndarray:
    memory["mean"] = of.beta1 * memory.get("mean", 0.0) + (1.0 - of.beta1) * gradient
    memory["square"] = of.beta2 * memory.get("square", 0.0) + (1.0 - of.beta2) * gradient**2
    mean = memory["mean"] / (1.0 - of.beta1 ** (k + 1))
    square = memory["square"] / (1.0 - of.beta2 ** (k + 1))
    return p - step * _scaled(mean, square, of.epsilon)


def _scaled(gradient: np.ndarray, square: np.ndarray, epsilon: float) -> np.ndarray:
    """gradient / (sqrt(square) + epsilon); 0 where no gradient was ever seen, at any epsilon."""
    size = np.sqrt(square) + epsilon
    return np.divide(gradient, size, out=np.zeros_like(gradient), where=size > 0.0)


Optimiser = Adam | AdamW | RMSprop | Adagrad | SignDescent
register_kinds("adam", "adamw", "rmsprop", "adagrad", "sign")
