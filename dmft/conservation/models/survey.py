"""What walking a model yields: its laws, and what was not recognised or breaks a law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dmft.conservation.models.forms import ModelLaw
from dmft.errors import InputError

ANY_LOSS = "any loss"
CROSS_ENTROPY = "cross-entropy"


@dataclass(frozen=True)
class Broken:
    """A quantity that is conserved but for something in the model.

    why : what breaks it, for instance the eps of a norm.
    """

    name: str
    formula: str
    why: str


@dataclass(frozen=True)
class ModelLaws:
    """The laws of a model.

    Attributes
    ----------
    model : name of its class.
    dimension : number of parameters that are trained.
    laws : families of conserved quantities.
    broken : quantities that would be conserved but for what is named.
    unrecognised : what could not be followed, and why; about it nothing is said.
    unchecked : why gradients of random data were not tried against every law, "" if they were.
    """

    model: str
    dimension: int
    laws: tuple[ModelLaw, ...]
    broken: tuple[Broken, ...]
    unrecognised: tuple[str, ...]
    unchecked: str = "not asked for"

    @property
    def count(self) -> int:
        """Number of independent conserved quantities."""
        return sum(law.count for law in self.laws)

    @property
    def checked(self) -> bool:
        """Whether gradients of random data were tried against every law."""
        return not self.unchecked

    @property
    def determined(self) -> bool:
        """Whether everything was followed, so that the count speaks of the whole model."""
        return not self.unrecognised

    def __iter__(self) -> Iterator[ModelLaw]:
        return iter(self.laws)

    def __len__(self) -> int:
        return len(self.laws)

    def __getitem__(self, name: str) -> ModelLaw:
        for law in self.laws:
            if law.name == name:
                return law
        raise InputError(f"given {name!r}, no law of {self.model} has that name", "law")

    def evaluate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all laws by name, from tensors by name."""
        return {law.name: law.evaluate(parameters) for law in self.laws}

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "model": self.model,
            "parameters": self.dimension,
            "laws": self.count,
            "families": [law.to_table() for law in self.laws],
            "broken": [vars(one) for one in self.broken],
            "unrecognised": list(self.unrecognised),
            "determined": self.determined,
            "checked": self.checked,
            "unchecked": self.unchecked,
        }
