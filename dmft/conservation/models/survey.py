"""What walking a model yields: its laws, and what was not recognised or breaks a law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.forms import Form, ModelLaw, Slot, Term, gram_count
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch

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
    unrecognised : parts of the model about which nothing is said.
    """

    model: str
    dimension: int
    laws: tuple[ModelLaw, ...]
    broken: tuple[Broken, ...]
    unrecognised: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of independent conserved quantities."""
        return sum(law.count for law in self.laws)

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
        }


@dataclass
class Survey:
    """Collects laws during a walk; drops those that frozen or shared parameters break.

    model : the whole model. loss : 'any' or 'cross-entropy'.
    """

    model: torch.nn.Module
    loss: str
    laws: list[ModelLaw] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    unrecognised: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        everything = list(self.model.named_parameters(remove_duplicate=False))
        first = dict(self.model.named_parameters())
        names = {id(parameter): name for name, parameter in first.items()}
        self.shapes = {name: tuple(parameter.shape) for name, parameter in first.items()}
        # A parameter that occurs twice has the name of its first occurrence.
        self.names = {name: names[id(parameter)] for name, parameter in everything}
        seen: dict[str, int] = {}
        for name in self.names.values():
            seen[name] = seen.get(name, 0) + 1
        self.shared = {name for name, times in seen.items() if times > 1}
        self.frozen = {name for name, parameter in first.items() if not parameter.requires_grad}
        self.used: dict[str, int] = {}

    def slot(self, name: str, part: str = "") -> Slot:
        """The slot of a whole parameter, by any of its names."""
        return Slot(self.names[name], part=part)

    def finish(self) -> ModelLaws:
        dimension = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return ModelLaws(
            type(self.model).__name__, dimension,
            tuple(self.laws), tuple(self.broken), tuple(self.unrecognised),
        )  # fmt: skip

    def squares(
        self, name: str, formula: str, terms: Sequence[Term], *, rows: int = 1,
        certainty: str = ANY_LOSS, why_not: str = "", allowed: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Add weighted sums of squares of rows."""
        self._add("squares", name, formula, terms, rows, certainty, why_not, allowed)

    def sums(
        self, name: str, formula: str, terms: Sequence[Term], *, rows: int = 1,
        certainty: str = ANY_LOSS, why_not: str = "", allowed: Sequence[str] = (),
        dependent: int = 0,
    ) -> None:  # fmt: skip
        """Add weighted sums of rows; `dependent` of them follow from other laws."""
        self._add("sum", name, formula, terms, rows, certainty, why_not, allowed, dependent)

    def gram(self, name: str, formula: str, terms: Sequence[Term]) -> None:
        """Add differences of Gram matrices of slots (family, copy, row, column)."""
        self._add("gram", name, formula, terms, 1, ANY_LOSS, "", ())

    def _add(
        self, form: Form, name: str, formula: str, terms: Sequence[Term], rows: int,
        certainty: str, why_not: str, allowed: Sequence[str], dependent: int = 0,
    ) -> None:  # fmt: skip
        why_not = why_not or self._obstacle([term.slot.name for term in terms], allowed)
        if certainty == CROSS_ENTROPY and self.loss != CROSS_ENTROPY:
            why_not = why_not or "needs cross-entropy over the outputs"
        if why_not:
            self.broken.append(Broken(name, formula, why_not))
            return
        shapes = [self.slot_shape(term.slot) for term in terms]
        if form == "gram":
            shape: tuple[int, ...] = (shapes[0][0], shapes[0][2])
            columns = sum(each[1] * each[3] for each in shapes)
            count = gram_count(shape[0], shape[1], columns)
        else:
            shape = shapes[0][:rows]
            count = 1
            for size in shape:
                count *= size
            count -= dependent
        self.laws.append(ModelLaw(name, formula, form, tuple(terms), shape, count, certainty, rows))

    def _obstacle(self, names: Sequence[str], allowed: Sequence[str]) -> str:
        """Why a law of these parameters cannot hold, if so."""
        for name in names:
            if name in self.frozen:
                return f"{name} is frozen"
            if name in self.shared and name not in allowed:
                return f"{name} is shared by several modules"
        return ""

    def slot_shape(self, slot: Slot) -> tuple[int, ...]:
        import torch

        # A tensor without data has the shape of the view without its cost.
        return tuple(slot.of({slot.name: torch.empty(self.shapes[slot.name], device="meta")}).shape)
