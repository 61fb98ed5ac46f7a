"""What an architecture is: names and shapes of parameters, a forward pass, a list of laws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmft.errors import InputError
from dmft.validation import Settings

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.law import Law
    from dmft.conservation.tensor import Tensor

# Exact counts keep a matrix of D x D entries of 8 bytes, and a few temporaries of that size.
MAX_PARAMETERS = 6000

Size = Annotated[int, Field(ge=1, le=MAX_PARAMETERS)]


class Architecture(Settings):
    """Base of all architectures.

    loss : 'mse' has gradients in all directions of the output, 'cross-entropy' those that sum to
        zero over the last axis of the output (logits).
    flow : 'gradient' is theta' = -grad, 'multiplicative' is theta' = -theta * grad entrywise.
    """

    kind: str
    loss: Literal["mse", "cross-entropy"] = "mse"
    flow: Literal["gradient", "multiplicative"] = "gradient"

    # Whether an argument by exact arithmetic alone proves the bound: see Draws.assumptions.
    smooth: ClassVar[bool] = True

    @model_validator(mode="after")
    def _not_too_large(self) -> Architecture:
        if self.dimension > MAX_PARAMETERS:
            raise InputError(
                f"given {self.dimension} parameters, must be at most {MAX_PARAMETERS}"
                " (the exact count keeps a matrix of that size squared)",
                self.kind,
            )
        return self

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters by name, in the order in which they are flattened."""
        raise NotImplementedError

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """The outputs for data from `draws`; an overall event shape of the network's own."""
        raise NotImplementedError

    def laws(self) -> tuple[Law, ...]:
        """The conservation laws known in closed form for the gradient flow."""
        return ()

    @property
    def dimension(self) -> int:
        """D, the number of parameters."""
        return sum(math.prod(shape) for shape in self.parameters().values())

    def describe(self) -> dict[str, Any]:
        """The settings as a plain table, the inverse of `parse_architecture`."""
        return self.model_dump(mode="json")


def split_list(given: Any) -> Any:
    """'2,5,2' as a list, for the command line."""
    if isinstance(given, str):
        return [part.strip() for part in given.split(",")]
    if isinstance(given, int):
        return [given]
    return given


Widths = Annotated[tuple[Size, ...], BeforeValidator(split_list), Field(min_length=2)]
