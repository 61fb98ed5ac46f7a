"""The parts of a transformer as slots, and the laws of each part.

Matrices of heads have the axes (group, copy, dimension of the head, other side): the heads that
share a key-value head form a group, whose queries and outputs are its copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dmft.conservation.models.forms import Slot, Term, View
from dmft.conservation.models.survey import CROSS_ENTROPY, Survey


@dataclass(frozen=True)
class Rotation:
    """Which dimensions of a head are rotated.

    planes : number of planes. halves : dimension j is paired with j + planes, else 2j with 2j + 1.
    still : frequency zero, by plane; together with what lies beyond the planes, these are at rest.
    repeated : planes that rotate alike, whose mixed laws are not listed.
    """

    planes: int
    halves: bool
    size: int
    still: tuple[int, ...] = ()
    repeated: bool = False

    @property
    def turning(self) -> tuple[int, ...]:
        return tuple(j for j in range(self.planes) if j not in self.still)

    def pair(self, plane: int) -> tuple[int, int]:
        """The two dimensions of a plane."""
        return (plane, plane + self.planes) if self.halves else (2 * plane, 2 * plane + 1)

    def at_rest(self) -> list[int]:
        """The dimensions that are not rotated."""
        moving = [i for plane in self.turning for i in self.pair(plane)]
        return [i for i in range(self.size) if i not in moving]

    def by_plane(self, axis: int) -> tuple[int, tuple[int, int]]:
        """How to split the rotated dimensions: the axis of the pair, and the sizes."""
        return (axis, (2, self.planes)) if self.halves else (axis + 1, (self.planes, 2))


@dataclass
class Attention:
    """Queries, keys, values and outputs of one layer.

    q, k, v, o : (group, copy, e, width); the biases have a width of 1, that of the output none.
    gain_q, gain_k : of QK norms, (e,); eps : of these norms, None without them.
    """

    name: str
    q: Slot
    k: Slot
    v: Slot
    o: Slot
    bias_q: Slot | None = None
    bias_k: Slot | None = None
    bias_v: Slot | None = None
    bias_o: Slot | None = None
    rotation: Rotation | None = None
    gain_q: Slot | None = None
    gain_k: Slot | None = None
    eps: float | None = None
    bias_breaks: str = ""

    @property
    def readers(self) -> list[Slot]:
        """What reads the input, with its axis last."""
        return [self.q, self.k, self.v]

    @property
    def writers(self) -> list[Slot]:
        """What adds to the output, with its axis last."""
        return [self.o] + ([self.bias_o] if self.bias_o else [])

    def survey(self, survey: Survey) -> None:
        """The laws of the layer."""
        value = signed([self.v, self.bias_v], [self.o])
        formula = difference(value, "{0} {0}^T", "{0}^T {0}") + ", per head"
        survey.gram(f"value-output {self.name}", formula, value)
        query = signed([self.q, self.bias_q], [self.k, self.bias_k])
        if self.gain_q is not None and self.gain_k is not None:
            self._norms(survey, self.gain_q, self.gain_k)
        elif self.rotation is None:
            formula = difference(query, "{0} {0}^T") + ", per head"
            survey.gram(f"query-key {self.name}", formula, query)
            self._key_bias(survey)
        else:
            self._rotary(survey, self.rotation, query)

    def _rotary(self, survey: Survey, rotation: Rotation, query: list[Term]) -> None:
        if rotation.turning:
            planes = [Term(_planes(term.slot, rotation, 2), term.weight) for term in query]
            survey.squares(
                f"query-key planes {self.name}",
                difference(query, "|{0}|^2") + ", by plane of rotation",
                planes, rows=2,
            )  # fmt: skip
        if rotation.repeated:
            survey.unrecognised.append(
                f"{self.name}: planes with the same frequency, which can be mixed"
            )
        still = rotation.at_rest()
        if still:
            resting = [Term(_rows(term.slot, still), term.weight) for term in query]
            survey.gram(
                f"query-key at rest {self.name}",
                difference(query, "{0} {0}^T") + f", dimensions {_listed(still)}",
                resting,
            )
            self._key_bias(survey, still)

    def _key_bias(self, survey: Survey, still: list[int] | None = None) -> None:
        """A key bias shifts all logits of a query alike, unless a rotation makes it differ."""
        if self.bias_k is None:
            return
        slot = self.bias_k if still is None else _rows(self.bias_k, still)
        survey.sums(
            f"key bias {self.name}",
            str(self.bias_k) + (f", dimensions {_listed(still)}" if still else ""),
            [Term(slot)], rows=4, why_not=self.bias_breaks,
        )  # fmt: skip

    def _norms(self, survey: Survey, gain_q: Slot, gain_k: Slot) -> None:
        """Gains of queries against those of keys; norms of what is normalised afterwards."""
        gains = signed([gain_q], [gain_k])
        if self.rotation is None:
            survey.squares(f"QK gains {self.name}", difference(gains, "{0}[i]^2"), gains)
        else:
            planes = [Term(_planes(term.slot, self.rotation, 0), term.weight) for term in gains]
            survey.squares(
                f"QK gains {self.name}",
                difference(gains, "|{0}|^2") + ", by plane of rotation", planes,
            )  # fmt: skip
            if self.rotation.at_rest() or self.rotation.repeated:
                survey.unrecognised.append(f"{self.name}: dimensions at rest behind a QK norm")
        for label, slot, bias in (("Q", self.q, self.bias_q), ("K", self.k, self.bias_k)):
            terms = [Term(part) for part in (slot, bias) if part]
            survey.squares(
                f"norms of {label} {self.name}", " + ".join(f"|{t.slot}|^2" for t in terms), terms,
                rows=2, why_not=eps_breaks(self.eps),
            )  # fmt: skip


@dataclass
class FeedForward:
    """One or two matrices that read the input, one that writes the output.

    inner, gate : (.., hidden, input), gate only in gated units; outer : (.., hidden, output).
    The leading axis, if any, counts experts. bias_inner, bias_gate : (.., hidden).
    degree : of homogeneity of the activation, 0 if it is not; the gate's, with a gate.
    linear : the activation is the identity.
    """

    name: str
    inner: Slot
    outer: Slot
    gate: Slot | None = None
    bias_inner: Slot | None = None
    bias_gate: Slot | None = None
    bias_outer: Slot | None = None
    degree: int | None = 0
    linear: bool = False
    rows: int = 1
    activation: str = ""

    @property
    def readers(self) -> list[Slot]:
        """What reads the input, with its axis last."""
        return [slot for slot in (self.inner, self.gate) if slot]

    @property
    def writers(self) -> list[Slot]:
        """What adds to the output, with its axis last."""
        return [slot for slot in (self.outer, self.bias_outer) if slot]

    def survey(self, survey: Survey) -> None:
        """The laws of the layer."""
        if self.degree is None:
            survey.unrecognised.append(f"{self.name}: activation {self.activation}")
        if self.gate is not None:
            self._neurons(survey, "neurons", self.inner, self.bias_inner, 1)
            if self.degree:
                self._neurons(survey, "gates", self.gate, self.bias_gate, self.degree)
        elif self.linear:
            lift = (lambda x: x[None, None]) if self.rows == 1 else (lambda x: x.unsqueeze(1))
            bias = self.bias_inner.then(lambda x: x.unsqueeze(-1)) if self.bias_inner else None
            terms = signed([self.inner, bias], [self.outer])
            lifted = [Term(term.slot.then(lift), term.weight) for term in terms]
            formula = difference(terms, "{0} {0}^T", "{0}^T {0}")
            survey.gram(f"balance {self.name}", formula, lifted)
        elif self.degree:
            self._neurons(survey, "neurons", self.inner, self.bias_inner, self.degree)

    def _neurons(
        self, survey: Survey, label: str, inner: Slot, bias: Slot | None, degree: int
    ) -> None:
        terms = [*signed([inner, bias], []), Term(self.outer, -float(degree))]
        survey.squares(
            f"{label} {self.name}",
            difference(terms, "|{0}[k]|^2", "|{0}[:,k]|^2"),
            terms,
            rows=self.rows,
        )


@dataclass
class Router:
    """A softmax router over experts, weight (experts, input).

    only : one expert is selected and its weight divided by itself, so that it is always 1.
    """

    name: str
    weight: Slot
    only: bool = False

    def survey(self, survey: Survey) -> None:
        """The laws of the router."""
        if self.only:
            survey.sums(
                f"router {self.name}", f"{self.weight} (the weight of the only expert is 1)",
                [Term(self.weight)], rows=2,
            )  # fmt: skip
        else:
            survey.sums(
                f"router {self.name}", f"sum_i {self.weight}[i,:]",
                [Term(self.weight.then(lambda x: x.T))],
            )  # fmt: skip


@dataclass
class Norm:
    """A normalisation with gain and, if centred, a bias; and what reads its output.

    readers : slots with the input axis last; None if something unknown reads it.
    """

    name: str
    gain: Slot | None
    bias: Slot | None
    eps: float
    centred: bool
    readers: Sequence[Slot] | None = field(default_factory=list)

    @property
    def gains(self) -> list[Slot]:
        return [slot for slot in (self.gain, self.bias) if slot]

    def survey(self, survey: Survey) -> None:
        """Gains can be moved into the columns of all that read them."""
        if self.gain is None or not self.readers:
            return
        terms = [Term(slot) for slot in self.gains]
        terms += [Term(_input_first(slot), -1.0) for slot in self.readers]
        survey.squares(f"gains {self.name}", _by_input(self.gains, self.readers), terms)


def fused_heads(
    start: int, size: int, split: tuple[int, int, int], *, bias: bool = False,
    transposed: bool = False,
) -> View:  # fmt: skip
    """Rows `start` to `start + size` of a fused matrix, as (group, copy, e, ..)."""

    def view(x: Any) -> Any:
        x = (x.T if transposed else x).narrow(0, start, size).unflatten(0, split)
        return x.unsqueeze(-1) if bias else x

    return view


def eps_breaks(eps: float | None) -> str:
    """Why an eps under the root of a norm breaks a scale."""
    return f"eps = {eps:g} of the norm" if eps else ""


def shift_of_outputs(survey: Survey, name: str, weight: Slot, bias: Slot | None) -> None:
    """A common shift of all logits, which cross-entropy does not see."""
    survey.sums(
        f"output sums {name}", f"sum_i {weight}[i,:]",
        [Term(weight.then(lambda x: x.transpose(0, 1)))], certainty=CROSS_ENTROPY,
    )  # fmt: skip
    if bias is not None:
        survey.sums(
            f"output bias {name}", f"sum_i {bias}[i]", [Term(bias)], rows=0,
            certainty=CROSS_ENTROPY,
        )  # fmt: skip


def signed(plus: Sequence[Slot | None], minus: Sequence[Slot | None]) -> list[Term]:
    """Terms of a difference; what is absent is left out."""
    return [Term(slot) for slot in plus if slot] + [Term(slot, -1.0) for slot in minus if slot]


def difference(terms: Sequence[Term], pattern: str, negative: str | None = None) -> str:
    """The formula of a signed sum; a pattern makes one term of a name."""
    text = ""
    for term in terms:
        size = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} "
        sign, shape = (" + ", pattern) if term.weight > 0 else (" - ", negative or pattern)
        text += sign + size + shape.format(term.slot)
    return text.removeprefix(" + ")


def _by_input(gains: Sequence[Slot], readers: Sequence[Slot]) -> str:
    plus = " + ".join(f"{slot}[i]^2" for slot in gains)
    return plus + "".join(f" - |{slot}[..,i]|^2" for slot in readers)


def _input_first(slot: Slot) -> Slot:
    return slot.then(lambda x: x.movedim(-1, 0))


def _rows(slot: Slot, dimensions: list[int]) -> Slot:
    """Some of the dimensions of heads; a slice where they are adjacent."""
    first, size = dimensions[0], len(dimensions)
    if dimensions == list(range(first, first + size)):
        return slot.then(lambda x: x.narrow(2, first, size))
    return slot.then(lambda x: x[:, :, dimensions])


def _planes(slot: Slot, rotation: Rotation, axis: int) -> Slot:
    """(.., e, ..) as (rows, plane, ..), rows being the leading axis if `axis` is 2."""
    pair_axis, sizes = rotation.by_plane(axis)
    plane_axis = axis if pair_axis != axis else axis + 1
    turning = list(rotation.turning)

    def view(x: Any) -> Any:
        x = x.narrow(axis, 0, 2 * rotation.planes).unflatten(axis, sizes)
        x = x.movedim(plane_axis, 1 if axis else 0)
        if len(turning) < rotation.planes:
            x = x[:, turning] if axis else x[turning]
        return x

    return slot.then(view)


def _listed(numbers: list[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 2 and numbers == list(range(first, last + 1)):
        return f"{first}..{last}"
    return ", ".join(map(str, numbers))
