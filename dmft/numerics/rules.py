"""Functions of the user's own that move one parameter by its gradient, compiled by Numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from dmft.errors import InputError

_WHERE = "dynamics.rule"


class Rule:
    """A compiled function of (parameter, gradient, memory, step, step_size, *values).

    Raises
    ------
    InputError : Numba cannot compile it, or it returns no number.
    """

    def __init__(
        self, function: Callable[..., float], memory: int, values: tuple[float, ...]
    ) -> None:
        self._name, self._values = function.__name__, values
        self._function = _compiled(function, memory, len(values))

    def move(
        self,
        parameters: np.ndarray,
        gradients: np.ndarray,
        memory: np.ndarray,
        step: int,
        step_size: float,
    ) -> None:
        """One step of parameters (n,) in place, each with its gradient and memory (n, slots).

        Raises
        ------
        InputError : the function raises, or reaches beyond its memory.
        """
        try:
            _move(self._function, parameters, gradients, memory, step, step_size, self._values)
        except Exception as error:
            raise InputError(
                f"given '{self._name}', which fails in step {step}: {_one_line(error)}", _WHERE
            ) from None


@cache
def _compiled(function: Callable[..., float], memory: int, hyperparameters: int) -> Any:
    """The function, compiled for numbers; it checks the bounds of its memory."""
    found = numba.njit(nogil=True, error_model="numpy", boundscheck=True)(function)
    argument = numba.typeof(np.zeros((1, memory))[0])
    numbers = (numba.float64,) * hyperparameters
    try:
        found.compile(
            (numba.float64, numba.float64, argument, numba.int64, numba.float64, *numbers)
        )
    except Exception as error:
        raise InputError(
            f"given '{function.__name__}', which Numba cannot compile: {_one_line(error)}", _WHERE
        ) from None
    return found


def _one_line(error: Exception) -> str:
    """The line of a message that says most, after the kind of the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if not line.startswith("Failed in")), "")
    return f"{type(error).__name__}: {told}"


@numba.njit(nogil=True)
def _move(function, parameters, gradients, memory, step, step_size, values):
    for m in range(len(parameters)):
        parameters[m] = function(parameters[m], gradients[m], memory[m], step, step_size, *values)
