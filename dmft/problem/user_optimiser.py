"""Optimisers of the user's own: one Python function that moves one parameter by its gradient."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from dmft.errors import InputError
from dmft.problem.optimisers import Adaptive, StepSize
from dmft.validation import echo, register_kinds

if TYPE_CHECKING:
    from dmft.numerics.rules import Rule

_ARGUMENTS = 5  # of a rule beside its hyperparameters
# Gradients of a few steps of three parameters, by which rules are tried and told apart; the last
# has felt none, as one of (u, v) at the usual start.
_STARTS = (0.3, -0.7, 0.4)
_GRADIENTS = ((0.5, -1.5, 0.0), (-0.2, -1e-3, 0.0), (0.3, 2.0, 0.0), (1e-6, 0.7, 0.0))


def _function(given: Any) -> Any:
    """The function itself, also of one that is compiled already."""
    function = getattr(given, "py_func", given)
    if given is not None and not inspect.isfunction(function):
        raise InputError(f"given {echo(given)}, must be a Python function, which no file can give")
    return function


class UserOptimiser(Adaptive):
    """An optimiser of the user's own, given in Python; files keep its name, not its rule.

    `rule(parameter, gradient, memory, step, step_size, *hyperparameters)` returns the parameter
    after a step. It is called for every parameter and compiled by Numba, so it must be a plain
    function of numbers; what it remembers it writes into the array `memory`, zeros at first. `step`
    counts from 0, `step_size` is that of the schedule.

    name : what files call it; that of the function if not given.
    rule : the function, given in Python only.
    memory : how many numbers the rule keeps for one parameter.
    hyperparameters : numbers that are handed to the rule, in the order of its arguments.
    step_size : handed to the rule, times the factor of the schedule.
    fingerprint : of what the rule does in a few steps, written by the program; a rule that is given
        beside it must do the same.

    Raises
    ------
    InputError : no function of that many arguments; one that fails, or that returns no finite
        number, on a few steps, where one parameter feels no gradient; another one than that of the
        fingerprint.
    """

    weight_decay: ClassVar[float] = 0.0  # is the rule's own affair

    kind: Literal["user"] = "user"
    name: str
    rule: Annotated[Callable[..., float] | None, BeforeValidator(_function)] = Field(
        None, exclude=True
    )
    memory: int = Field(0, ge=0, le=16)
    hyperparameters: tuple[float, ...] = ()
    step_size: StepSize = 0.01
    fingerprint: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, dict) and "name" not in given and callable(given.get("rule")):
            return {**given, "name": getattr(given["rule"], "__name__", "")}
        return given

    @field_validator("name")
    @classmethod
    def _short(cls, given: str) -> str:
        if not re.fullmatch(r"\w[\w -]{0,39}", given):
            raise InputError(
                f"given {echo(given)}, must be at most 40 letters, digits, - or spaces"
            )
        return given

    @model_validator(mode="after")
    def _tried(self) -> UserOptimiser:
        if self.rule is None:
            return self
        found = _fingerprint(self.rule, self.memory, self.step_size, self.hyperparameters)
        if self.fingerprint not in ("", found):
            raise InputError(
                f"given a function that does not do what the saved '{self.name}' did, must be the "
                "same with the same hyperparameters; or make a new optimiser",
                "rule",
            )
        self.__dict__["fingerprint"] = found  # known, not given
        return self

    def compiled(self) -> Rule:
        """The rule with its hyperparameters, compiled by Numba.

        Raises
        ------
        InputError : there is no rule, as in what was read from a file; Numba cannot compile it.
        """
        if self.rule is None:
            raise InputError(
                f"given the name '{self.name}' without its function, which files do not keep: "
                "give it in Python, as problem.replace(**{'dynamics.rule': function})",
                "dynamics.rule",
            )
        from dmft.numerics.rules import Rule

        return Rule(self.rule, self.memory, self.hyperparameters)

    def moved(
        self, p: np.ndarray, gradient: np.ndarray, k: int, step: float, memory: dict[str, Any]
    ) -> np.ndarray:
        """See `Adaptive.moved`."""
        if not memory:
            memory |= {"rule": self.compiled(), "kept": np.zeros((p.size, self.memory))}
        moved = p.flatten()
        memory["rule"].move(moved, gradient.ravel(), memory["kept"], k, step)
        return moved.reshape(p.shape)

    def __eq__(self, other: object) -> bool:
        """Whether all settings agree; rules that do the same are the same."""
        return isinstance(other, UserOptimiser) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))


def _fingerprint(
    rule: Callable[..., float], memory: int, step_size: float, values: tuple[float, ...]
) -> str:
    """Digits of what a rule does in a few steps, uncompiled."""
    _check_arguments(rule, len(values))
    remembered = np.zeros((len(_STARTS), memory))
    found = [np.float64(start) for start in _STARTS]
    for step, gradients in enumerate(_GRADIENTS):
        for index, gradient in enumerate(gradients):
            before = found[index]
            try:
                with np.errstate(all="ignore"):
                    after = rule(
                        before, np.float64(gradient), remembered[index], step, step_size, *values
                    )
                found[index] = np.float64(after)
            except Exception as error:
                raise InputError(
                    f"given '{rule.__name__}', which fails in step {step}: "
                    f"{type(error).__name__}: {' '.join(str(error).split())}",
                    "rule",
                ) from None
            if not np.isfinite(found[index]):
                raise InputError(
                    f"given '{rule.__name__}', which makes {found[index]:g} of the parameter "
                    f"{before:g} and the gradient {gradient:g} in step {step}, must be finite",
                    "rule",
                )
    digits = " ".join(f"{number:.6e}" for number in found)
    return hashlib.sha256(digits.encode()).hexdigest()[:12]


def _check_arguments(rule: Callable[..., float], hyperparameters: int) -> None:
    kinds = [argument.kind for argument in inspect.signature(rule).parameters.values()]
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if len(kinds) != _ARGUMENTS + hyperparameters or any(kind is not plain for kind in kinds):
        raise InputError(
            f"given '{rule.__name__}{inspect.signature(rule)}' with {hyperparameters} "
            "hyperparameters, must be a function of (parameter, gradient, memory, step, "
            "step_size) and as many more arguments",
            "rule",
        )


register_kinds("user")
