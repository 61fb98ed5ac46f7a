"""What the settings of an optimiser and the gradients alone forecast for a law in one step.

A step theta' = f theta + delta changes a quadratic law h with the bilinear form B to
h(theta') = f^2 h(theta) + 2 f B(theta, delta) + h(delta). A conserved law has B(theta, g) = 0 for
every gradient g, so with plain SGD, delta = -tau g, and decay, f = 1 - tau lambda, all is known:

    h(theta') = (1 - tau lambda)^2 h(theta) + tau^2 h(g).

With momentum v' = mu v + (1 - d)(g + lambda theta), theta' = theta - tau v', the form
c = B(theta, v') obeys c' = mu (c - tau h(v)) + (1 - d) lambda h(theta), and
h(theta') = h(theta) - 2 tau c' + tau^2 h(v'). Of other optimisers, f^2 h + h(delta) is predicted;
the residual is the first order, 2 f B(theta, delta), by which they break the law.
A linear law changes by f and by its value at delta, which is zero for gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.forms import ModelLaw

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rule:
    """How one group of parameters is updated.

    kind : 'sgd', 'momentum' or 'other'.
    decoupled : weight decay multiplies the parameters and is not part of the gradient.
    """

    kind: str
    step_size: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    decoupled: bool = False

    @property
    def factor(self) -> float:
        """f, by which weight decay shrinks the parameters in one step, apart from momentum."""
        shrinks = self.decoupled or self.kind == "sgd"
        return 1.0 - self.step_size * self.weight_decay if shrinks else 1.0


def rule_of(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> Rule:
    """The rule of one of the groups of an optimiser, by its exact class."""
    name = type(optimizer).__name__
    plain = type(optimizer).__module__.startswith("torch.optim.")
    decay = float(group.get("weight_decay", 0.0))
    if plain and name == "SGD" and not group["nesterov"]:
        momentum = float(group["momentum"])
        return Rule(
            "momentum" if momentum else "sgd", float(group["lr"]), decay, momentum,
            float(group["dampening"]),
        )  # fmt: skip
    decoupled = plain and (
        name == "AdamW" or bool(group.get("decoupled_weight_decay", False))
    )  # fmt: skip
    return Rule("other", float(group["lr"]), decay, decoupled=decoupled)


class Prediction:
    """Predicts the steps of one law.

    Every method takes and returns the quantities as vectors.
    """

    def __init__(self, law: ModelLaw) -> None:
        self.law = law
        self.cross: Any = None  # c of the last step, and h(v) with it
        self.speed: Any = None
        self.before = 0.0
        self._scale = 1.0
        self._pull: float | None = None

    def decay(self, rule: Rule) -> float:
        """By what weight decay alone has multiplied the law up to this step.

        Where the loss has no gradient, momentum still obeys a recursion for the scale.
        """
        if rule.kind == "momentum":
            own = rule.weight_decay * self._scale
            share = 1.0 - rule.dampening
            self._pull = (
                own if self._pull is None else rule.momentum * self._pull + share * own
            )  # fmt: skip
            self._scale -= rule.step_size * self._pull
        else:
            self._scale *= rule.factor
        return self._scale**self.law.degree

    def of_gradient(self, rule: Rule, value: Any, at_gradient: Any) -> Any:
        """The value after a step of SGD."""
        if self.law.degree == 1:
            return rule.factor * value
        return rule.factor**2 * value + rule.step_size**2 * at_gradient

    def of_velocity(self, rule: Rule, value: Any, at_velocity: Any) -> Any:
        """The value after a step with momentum, from the law at the new velocity."""
        if self.cross is None:  # the first velocity is the gradient, without dampening
            cross = rule.weight_decay * value
        else:
            share = (1.0 - rule.dampening) * rule.weight_decay
            back = self.cross
            if self.law.degree == 2:
                back = back - self.before * self.speed
            cross = rule.momentum * back + share * value
        self.cross, self.speed, self.before = cross, at_velocity, rule.step_size
        if self.law.degree == 1:
            return value - rule.step_size * cross
        return value - 2.0 * rule.step_size * cross + rule.step_size**2 * at_velocity

    def of_change(self, rule: Rule, value: Any, at_change: Any) -> Any:
        """The value after any step, without the first order in delta."""
        if self.law.degree == 1:
            return rule.factor * value
        return rule.factor**2 * value + at_change
