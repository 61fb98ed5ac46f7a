"""The residual stream of a pre-norm transformer: what is written to it and read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dmft.conservation.models.blocks import (
    Attention,
    FeedForward,
    Norm,
    Router,
    eps_breaks,
    shift_of_outputs,
)
from dmft.conservation.models.forms import Slot, Term
from dmft.conservation.models.survey import CROSS_ENTROPY, Survey


@dataclass
class Head:
    """Logits from the last norm, weight (outputs, width); tied to the embedding or not."""

    weight: Slot
    bias: Slot | None = None
    tied: bool = False


@dataclass
class Stream:
    """A pre-norm transformer.

    sources : what fills the stream, with its axis last: embeddings, positions.
    shifts : pairs of sources between which a constant can be moved, with signs; only the sum of
        each matters.
    norms : all norms that read the stream, but the last.
    last : the last norm. head : what reads it, None if the outputs are those of the norm.
    dropout : name of an active dropout on the stream, which sees the mean.
    """

    name: str
    sources: list[Slot]
    shifts: list[tuple[str, list[tuple[Slot, float]]]] = field(default_factory=list)
    layers: list[Attention | FeedForward | Router] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    last: Norm | None = None
    head: Head | None = None
    dropout: str = ""

    def survey(self, survey: Survey) -> None:
        """All laws of the transformer."""
        for layer in self.layers:
            layer.survey(survey)
        for norm in self.norms:
            norm.survey(survey)
        if self.last is not None and self.head is not None and not self.head.tied:
            self.last.readers = [self.head.weight]
            self.last.survey(survey)
        means = self._means(survey)
        self._scale(survey)
        self._shifts(survey, means)
        if self.head is not None and not self.head.tied:
            shift_of_outputs(survey, self.name or "model", self.head.weight, self.head.bias)

    @property
    def _all_norms(self) -> list[Norm]:
        return self.norms + ([self.last] if self.last else [])

    def _writers(self) -> list[Slot]:
        written = [
            slot for layer in self.layers if not isinstance(layer, Router) for slot in layer.writers
        ]
        return self.sources + written

    @property
    def _tied(self) -> Sequence[str]:
        """The embedding, if the head shares it: the only sharing that laws may have."""
        tied = self.head is not None and self.head.tied
        return [self.head.weight.name] if tied and self.head else []

    def _means(self, survey: Survey) -> bool:
        """With centred norms only, the mean of what is written is never seen."""
        if not all(norm.centred for norm in self._all_norms):
            return False
        why = f"{self.dropout} drops single entries of the stream" if self.dropout else ""
        for slot in self._writers():
            if slot.name in self._tied:
                continue
            survey.sums(
                f"stream mean {slot}", f"sum of {slot} over the stream", [Term(slot)],
                rows=_axes(survey, slot) - 1, why_not=why,
            )  # fmt: skip
        return not why

    def _scale(self, survey: Survey) -> None:
        """Without eps, norms do not see the scale of the stream."""
        eps = max((norm.eps for norm in self._all_norms), default=0.0)
        terms = [Term(slot) for slot in self._writers()]
        text = " + ".join(f"|{slot}|^2" for slot in self._writers())
        if self._tied and self.last is not None:
            terms += [Term(slot, -1.0) for slot in self.last.gains]
            text += "".join(f" - |{slot}|^2" for slot in self.last.gains)
        if len(self._writers()) > 4:
            text = "sum of squares of everything written to the stream" + (
                ", minus that of the last gain" if self._tied else ""
            )
        survey.squares(
            f"scale of the stream {self.name or 'model'}", text, terms, rows=0,
            why_not=eps_breaks(eps), allowed=self._tied,
        )  # fmt: skip

    def _shifts(self, survey: Survey, means: bool) -> None:
        for label, parts in self.shifts:
            tied = any(slot.name in self._tied for slot, _ in parts)
            # The sum over the stream follows from the means of the parts, if all are conserved.
            known = means and not tied
            formula = "".join(
                f" {'+' if weight > 0 else '-'} {slot} summed" for slot, weight in parts
            ).removeprefix(" + ")
            survey.sums(
                label, formula,
                [Term(slot.then(_stream_first), weight) for slot, weight in parts],
                certainty=CROSS_ENTROPY if tied else "any loss",
                allowed=self._tied, dependent=int(known),
            )  # fmt: skip


def _stream_first(x: Any) -> Any:
    return x.movedim(-1, 0)


def _axes(survey: Survey, slot: Slot) -> int:
    return len(survey.slot_shape(slot))
