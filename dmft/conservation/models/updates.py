"""What the settings of an optimiser and the gradients alone forecast for a law in one step.

A step theta' = f theta + delta changes a quadratic law h with the bilinear form B to
h(theta') = f^2 h(theta) + 2 f B(theta, delta) + h(delta). A conserved law has B(theta, g) = 0 for
every gradient g, so with plain SGD, delta = -tau g, and decay, f = 1 - tau lambda, all is known:

    h(theta') = (1 - tau lambda)^2 h(theta) + tau^2 h(g).

With momentum v' = mu v + (1 - d)(g + lambda theta), theta' = theta - tau v', the form
c = B(theta, v') obeys c' = mu (c - tau h(v)) + (1 - d) lambda h(theta), and
h(theta') = h(theta) - 2 tau c' + tau^2 h(v'). Nesterov's step u' = g + lambda theta + mu v' in
place of v' gives c' = mu (c - tau B(u, v)) + lambda h(theta) and
h(theta') = h(theta) - 2 tau (lambda h(theta) + mu c') + tau^2 h(u'). Of other optimisers,
f^2 h + h(delta) is predicted; the residual is the first order, 2 f B(theta, delta), by which they
break the law.
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

    kind : 'sgd', 'momentum', 'nesterov' or 'other'.
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
    if plain and name == "SGD":
        momentum = float(group["momentum"])
        kind = "nesterov" if group["nesterov"] else "momentum" if momentum else "sgd"
        return Rule(kind, float(group["lr"]), decay, momentum, float(group["dampening"]))
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
        self.cross: Any = None  # c of the last step, and B(u, v) with it; u is v but for Nesterov
        self.between: Any = None
        self.before = 0.0
        self._scale = 1.0
        self._pull: float | None = None

    def decay(self, rule: Rule) -> float:
        """By what weight decay alone has multiplied the law up to this step.

        Where the loss has no gradient, momentum still obeys a recursion for the scale.
        """
        if rule.kind in ("momentum", "nesterov"):
            own = rule.weight_decay * self._scale
            share = 1.0 - rule.dampening
            self._pull = (
                own if self._pull is None else rule.momentum * self._pull + share * own
            )  # fmt: skip
            step = self._pull if rule.kind == "momentum" else own + rule.momentum * self._pull
            self._scale -= rule.step_size * step
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
        cross = self._met(rule, value, at_velocity)
        if self.law.degree == 1:
            return value - rule.step_size * cross
        return value - 2.0 * rule.step_size * cross + rule.step_size**2 * at_velocity

    def of_nesterov(self, rule: Rule, value: Any, at_step: Any, between: Any) -> Any:
        """The value after a step of Nesterov's, from h(u') and B(u', v')."""
        cross = rule.weight_decay * value + rule.momentum * self._met(rule, value, between)
        if self.law.degree == 1:
            return value - rule.step_size * cross
        return value - 2.0 * rule.step_size * cross + rule.step_size**2 * at_step

    def _met(self, rule: Rule, value: Any, between: Any) -> Any:
        """c' = B(theta, v'), or the law at v' if it is linear; B(step, v') is kept for the next."""
        if self.cross is None:  # the first velocity is the gradient, without dampening
            cross = rule.weight_decay * value
        else:
            share = (1.0 - rule.dampening) * rule.weight_decay
            back = self.cross
            if self.law.degree == 2:
                back = back - self.before * self.between
            cross = rule.momentum * back + share * value
        self.cross, self.between, self.before = cross, between, rule.step_size
        return cross

    def of_change(self, rule: Rule, value: Any, at_change: Any) -> Any:
        """The value after any step, without the first order in delta."""
        if self.law.degree == 1:
            return rule.factor * value
        return rule.factor**2 * value + at_change
