"""What an architecture is: names and shapes of parameters, a forward pass, a list of laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmft.conservation.catalogue import decayed
from dmft.conservation.dynamics import Flow, size_of, state_shapes
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
    flow : gradient, multiplicative (theta' = -theta * grad), weight-decay (theta' = -grad - rate
        theta) or momentum (theta'' = -grad - rate theta'), see dynamics.py.
    """

    numbers_from_text: ClassVar[bool] = True

    kind: str
    loss: Literal["mse", "cross-entropy"] = "mse"
    flow: Flow = "gradient"

    @model_validator(mode="after")
    def _not_too_large(self) -> Architecture:
        size = size_of(self.state())
        if size > MAX_PARAMETERS:
            what = "parameters" if size == self.dimension else "entries of the state"
            raise InputError(
                f"given {size} {what}, must be at most {MAX_PARAMETERS}"
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
        """The conservation laws known in closed form, for the flow of the architecture."""
        if self.flow == "gradient":
            return self.gradient_laws()
        if self.flow == "weight-decay":
            return tuple(decayed(law) for law in self.gradient_laws() if law.degree is not None)
        return self.multiplicative_laws() if self.flow == "multiplicative" else self.momentum_laws()

    def gradient_laws(self) -> tuple[Law, ...]:
        """Those of the gradient flow."""
        return ()

    def multiplicative_laws(self) -> tuple[Law, ...]:
        """Those of the multiplicative flow."""
        return ()

    def momentum_laws(self) -> tuple[Law, ...]:
        """Those of the flow with momentum."""
        return ()

    def state(self) -> dict[str, tuple[int, ...]]:
        """Shapes of everything that moves: the parameters, and what the flow adds to them."""
        return state_shapes(self.flow, self.parameters())

    @property
    def dimension(self) -> int:
        """D, the number of parameters."""
        return size_of(self.parameters())

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
