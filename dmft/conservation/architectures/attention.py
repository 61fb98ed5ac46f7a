"""Attention layers: multi-head, grouped-query, with every positional scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.catalogue import incoming, tex, unused
from dmft.conservation.law import Law, squares, upper
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

Position = Literal["none", "sinusoidal", "rotary", "alibi", "t5"]
Score = Literal["softmax", "linear", "relu", "sigmoid"]


class Attention(Architecture):
    """sum over heads h of O_h A_h V_g x, A_h = softmax(q_h k_g^T), q_h = Q_h x, k_g = K_g x.

    width : d, of the inputs and outputs.
    heads : number of heads.
    kv_heads : number of key-value heads, divides `heads`; default as many.
    head_dim : d_h.
    tokens : length of the sequences.
    position : none, sinusoidal (added to the inputs), rotary, alibi, t5 (learned bias by distance).
    frequencies : rotary: one label per plane; equal labels rotate alike, 0 does not rotate.
        Default all different.
    pairing : rotary: 'adjacent' pairs dimensions (2j, 2j+1), 'halves' (j, j + d_h/2).
    causal : a token sees only itself and earlier ones.
    bias : biases of q, k, v and of the output.
    qk_norm : q and k are divided by their root mean square and get gains.
    sink : one more learned logit per head, without a value.
    score : softmax, or entrywise linear, relu, sigmoid.
    """

    kind: Literal["attention"] = "attention"
    width: Size = 6
    heads: Size = 1
    kv_heads: Size | None = None
    head_dim: Size = 2
    tokens: int = Field(4, ge=2, le=16)
    position: Position = "none"
    frequencies: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None, BeforeValidator(split_list)
    ] = None
    pairing: Literal["adjacent", "halves"] = "adjacent"
    causal: bool = False
    bias: bool = False
    qk_norm: bool = False
    sink: bool = False
    score: Score = "softmax"

    @model_validator(mode="after")
    def _consistent(self) -> Attention:
        if self.heads % self.groups:
            raise InputError(f"given {self.groups}, must divide heads {self.heads}", "kv_heads")
        if self.position == "rotary" and self.head_dim % 2:
            raise InputError(f"given {self.head_dim}, must be even with rotary", "head_dim")
        if self.frequencies is not None:
            if self.position != "rotary":
                raise InputError(
                    f"given with position {self.position}, needs rotary", "frequencies"
                )
            if len(self.frequencies) != self.head_dim // 2:
                raise InputError(
                    f"given {len(self.frequencies)} labels, must be head_dim/2 ="
                    f" {self.head_dim // 2}",
                    "frequencies",
                )
        if self.sink and self.score != "softmax":
            raise InputError(f"given with score {self.score}, needs softmax", "sink")
        return self

    @property
    def groups(self) -> int:
        """Number of key-value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return self.shapes("")

    def shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Parameters of the layer as part of a network."""
        h, g, e, d = self.heads, self.groups, self.head_dim, self.width
        shapes: dict[str, tuple[int, ...]] = {
            "Q": (h, e, d), "K": (g, e, d), "V": (g, e, d), "O": (h, d, e)
        }  # fmt: skip
        if self.bias:
            shapes |= {"bQ": (h, e), "bK": (g, e), "bV": (g, e), "bO": (d,)}
        if self.qk_norm:
            shapes |= {"gQ": (e,), "gK": (e,)}
        if self.sink:
            shapes["sink"] = (h,)
        if self.position == "t5":
            shapes["distance"] = (h, self.tokens if self.causal else 2 * self.tokens - 1)
        return {prefix + name: shape for name, shape in shapes.items()}

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.inputs(self.tokens, self.width)
        if self.position == "sinusoidal":
            x = x + draws.constant("positions", _sinusoids(self.tokens, self.width))
        return self.attend(theta, "", x, draws)

    def attend(self, theta: Mapping[str, Tensor], prefix: str, x: Tensor, draws: Draws) -> Tensor:
        """The layer on tokens x (tokens, width)."""
        sequence = x.reshape(1, *x.shape)
        q = self._project(theta, prefix, "Q", sequence, draws)
        k = self._project(theta, prefix, "K", sequence, draws)
        v = self._project(theta, prefix, "V", sequence, draws)
        if self.groups < self.heads:
            member = np.arange(self.heads) * self.groups // self.heads
            k, v = k[member], v[member]
        weights = self._weights(theta, prefix, q @ k.T, draws)
        out = ((weights @ v) @ theta[f"{prefix}O"].T).sum(0)
        return out + theta[f"{prefix}bO"] if self.bias else out

    def _project(
        self, theta: Mapping[str, Tensor], prefix: str, name: str, x: Tensor, draws: Draws
    ) -> Tensor:
        out = x @ theta[prefix + name].T
        if self.bias:
            bias = theta[f"{prefix}b{name}"]
            out = out + bias.reshape(bias.shape[0], 1, -1)
        if name == "V":
            return out
        if self.qk_norm:
            mean = (out * out).sum(-1, keepdims=True) / self.head_dim
            out = out * draws.inverse_root(mean) * theta[f"{prefix}g{name}"]
        return self._rotate(out, draws) if self.position == "rotary" else out

    def _rotate(self, x: Tensor, draws: Draws) -> Tensor:
        """Rotate the planes of x (heads, tokens, head_dim) by angles that grow with the token."""
        cos = np.zeros((self.tokens, self.head_dim), draws.ring.dtype)
        sin = np.zeros_like(cos)
        partner = np.zeros(self.head_dim, int)
        for label, (a, b) in zip(self.labels, self.planes(), strict=True):
            turns = draws.rotations("rotary", label, 2.0, self.tokens)
            cos[:, a] = cos[:, b] = [turn[0] for turn in turns]
            sin[:, b] = [turn[1] for turn in turns]
            sin[:, a] = draws.ring.negative(sin[:, b])
            partner[a], partner[b] = b, a
        return x * draws.constant_array(cos) + x[:, :, partner] * draws.constant_array(sin)

    @property
    def labels(self) -> tuple[int, ...]:
        """Frequency labels of the planes."""
        planes = self.head_dim // 2
        return tuple(range(1, planes + 1)) if self.frequencies is None else self.frequencies

    def planes(self) -> list[tuple[int, int]]:
        """Pairs of dimensions that are rotated together."""
        half = self.head_dim // 2
        if self.pairing == "halves":
            return [(j, j + half) for j in range(half)]
        return [(2 * j, 2 * j + 1) for j in range(half)]

    def _weights(
        self, theta: Mapping[str, Tensor], prefix: str, scores: Tensor, draws: Draws
    ) -> Tensor:
        place = np.arange(self.tokens)
        distance = place[:, None] - place[None, :]  # how far back
        visible = draws.constant_array(distance >= 0) if self.causal else None
        if self.position == "alibi":
            slopes = draws.constant("slopes", 0.5 ** np.arange(1, self.heads + 1))
            steps = draws.constant_array(draws.ring.wrap(-np.abs(distance)))
            scores = scores + slopes.reshape(-1, 1, 1) * steps
        if self.position == "t5":
            index = np.maximum(distance, 0) if self.causal else distance + self.tokens - 1
            scores = scores + theta[f"{prefix}distance"][:, index]
        if self.score == "softmax":
            return self._softmax(theta, prefix, scores, visible, draws)
        weights = draws.activation(self.score, scores)
        return weights if visible is None else weights * visible

    def _softmax(
        self, theta: Mapping[str, Tensor], prefix: str, scores: Tensor,
        visible: Tensor | None, draws: Draws,
    ) -> Tensor:  # fmt: skip
        if not self.sink:
            return draws.softmax(scores, visible)
        e = draws.exp(scores)
        e = e if visible is None else e * visible
        return e / (e.sum(-1, keepdims=True) + draws.exp(theta[f"{prefix}sink"].reshape(-1, 1, 1)))

    def laws(self) -> tuple[Law, ...]:
        return () if self.flow == "multiplicative" else tuple(self.layer_laws(""))

    def layer_laws(self, prefix: str) -> Iterator[Law]:
        """The laws of the layer as part of a network."""
        for g in range(self.groups):
            if self.qk_norm:
                yield from self._norm_laws(prefix, g)
            else:
                yield from self._query_key_laws(prefix, g)
            yield self._value_output_law(prefix, g)
        if self.qk_norm:
            yield self._gain_law(prefix)
        if self.score in ("linear", "relu") and self.position != "alibi":
            yield from self._scale_laws(prefix)
        shifts = self.score == "softmax" and not self.sink
        if self.bias and shifts and not self.qk_norm:
            yield from self._key_bias_laws(prefix)
        if self.position == "t5" and shifts:
            name = f"{prefix}distance"
            yield Law(
                f"shift {name}",
                f"sum_j {name}[h,j]",
                f"\\sum_j ({tex(name)})_{{hj}}",
                lambda p: p[name].sum(-1),
                degree=1,
            )

    def members(self, g: int) -> list[int]:
        """The heads that use key-value head g."""
        share = self.heads // self.groups
        return list(range(g * share, (g + 1) * share))

    def _rows(self, p: Mapping[str, Any], prefix: str, name: str, h: int) -> list[Any]:
        """Matrices whose rows are the dimensions of head h: the weight, and its bias if any."""
        parts = [p[prefix + name][h]]
        if self.bias:
            parts.append(p[f"{prefix}b{name}"][h].reshape(-1, 1))
        return parts

    def _gram(self, p: Mapping[str, Any], prefix: str, name: str, heads: list[int]) -> Any:
        return sum(part @ part.T for h in heads for part in self._rows(p, prefix, name, h))

    def _square(self, prefix: str, name: str, index: str) -> str:
        """The text of Q[0] Q[0]^T, with the bias if there is one."""
        text = f"{prefix}{name}[{index}] {prefix}{name}[{index}]^T"
        if self.bias:
            text += f" + {prefix}b{name}[{index}] {prefix}b{name}[{index}]^T"
        return text

    def _query_key_laws(self, prefix: str, g: int) -> Iterator[Law]:
        """Q Q^T - K K^T, or the part of it that commutes with the rotations."""
        queries = " + ".join(self._square(prefix, "Q", str(h)) for h in self.members(g))
        formula = f"{queries} - ({self._square(prefix, 'K', str(g))})"
        latex = f"\\sum_h Q_h Q_h^\\top - K_{{{g}}} K_{{{g}}}^\\top"
        difference = partial(self._query_key, prefix, g)
        name = f"query-key {prefix}{g}"
        if self.position != "rotary":
            yield Law(name, formula, latex, lambda p: upper(difference(p)))
            return
        for label in sorted(set(self.labels)):
            pairs = [
                pair for pair, own in zip(self.planes(), self.labels, strict=True) if own == label
            ]
            first, second = [a for a, _ in pairs], [b for _, b in pairs]
            if label == 0:
                still = first + second
                yield Law(
                    f"{name} without rotation",
                    f"{formula}, dimensions {still}",
                    f"({latex})_{{ij}}",
                    partial(_block, difference, still),
                )
            elif len(pairs) == 1:
                a, b = pairs[0]
                yield Law(
                    f"{name} plane {a},{b}",
                    f"entries ({a},{a}) + ({b},{b}) of {formula}",
                    f"({latex})_{{{a}{a}}} + (\\cdot)_{{{b}{b}}}",
                    partial(_hermitian, difference, first, second),
                )
            else:
                yield Law(
                    f"{name} frequency {label}",
                    f"Z Z^* - Y Y^*, real and imaginary parts, of the complex rows {pairs} of"
                    f" {formula}",
                    "\\sum_h Z_h Z_h^* - Y Y^*",
                    partial(_hermitian, difference, first, second),
                )

    def _query_key(self, prefix: str, g: int, p: Mapping[str, Any]) -> Any:
        queries = self._gram(p, prefix, "Q", self.members(g))
        return queries - self._gram(p, prefix, "K", [g])

    def _norm_laws(self, prefix: str, g: int) -> Iterator[Law]:
        """Norms of what is normalised afterwards."""
        for name, heads in (("Q", self.members(g)), ("K", [g])):
            for h in heads:
                bias = f" + |{prefix}b{name}[{h}]|^2" if self.bias else ""
                yield Law(
                    f"norm {prefix}{name}[{h}]",
                    f"|{prefix}{name}[{h}]|^2{bias}",
                    f"\\|{name}_{{{h}}}\\|^2",
                    partial(self._norm, prefix, name, h),
                )

    def _norm(self, prefix: str, name: str, h: int, p: Mapping[str, Any]) -> Any:
        return sum(squares(part) for part in self._rows(p, prefix, name, h))

    def _gain_law(self, prefix: str) -> Law:
        """Gains of queries against those of keys, per dimension or per plane."""
        q, k = f"{prefix}gQ", f"{prefix}gK"

        def evaluate(p: Mapping[str, Any]) -> Any:
            value = p[q] * p[q] - p[k] * p[k]
            if self.position != "rotary":
                return value
            a, b = [list(side) for side in zip(*self.planes(), strict=True)]
            return value[a] + value[b]

        over = "sum over a plane of " if self.position == "rotary" else ""
        return Law(f"gains {q}-{k}", f"{over}{q}[i]^2 - {k}[i]^2",
                   f"{tex(q)}^2 - {tex(k)}^2", evaluate)  # fmt: skip

    def _scale_laws(self, prefix: str) -> Iterator[Law]:
        """Homogeneous scores can be scaled against the output.

        That holds for each head; with linear scores, heads that share keys can even be mixed.
        """
        if self.qk_norm:
            if self.position == "none" or self.position == "rotary":
                gain, output = f"{prefix}gQ", f"{prefix}O"
                yield Law(
                    f"scale {gain}-{output}",
                    f"|{gain}|^2 - |{output}|^2",
                    f"\\|{tex(gain)}\\|^2 - \\|{tex(output)}\\|^2",
                    lambda p: squares(p[gain]) - squares(p[output]),
                )
            return
        names = ["Q"] + (["bQ"] if self.bias else [])
        names += ["distance"] if self.position == "t5" else []
        plus = " + ".join(f"<{prefix}{name}[h], {prefix}{name}[k]>" for name in names)
        latex = " + ".join(f"\\langle {tex(name)}_h, {tex(name)}_k\\rangle" for name in names)
        for g in range(self.groups):
            members = self.members(g)

            def evaluate(p: Mapping[str, Any], members: list[int] = members) -> Any:
                output = incoming(p[f"{prefix}O"])[members]
                matrix = -(output @ output.T)
                for name in names:
                    rows = incoming(p[prefix + name])[members]
                    matrix = matrix + rows @ rows.T
                if self.score == "linear":
                    return upper(matrix)
                return matrix[list(range(len(members))), list(range(len(members)))]

            heads = "heads h, k" if self.score == "linear" else "heads h = k"
            yield Law(
                f"scale {prefix}Q-{prefix}O {g}",
                f"{plus} - <{prefix}O[h], {prefix}O[k]>, {heads} of group {g}",
                f"{latex} - \\langle O_h, O_k\\rangle",
                evaluate,
            )

    def _key_bias_laws(self, prefix: str) -> Iterator[Law]:
        """A key bias shifts all logits of a query alike, unless a rotation makes it differ."""
        name = f"{prefix}bK"
        if self.position != "rotary":
            yield unused(name, "shifts all logits of a query alike")
            return
        pairs = zip(self.planes(), self.labels, strict=True)
        still = [i for pair, label in pairs if label == 0 for i in pair]
        if still:
            yield Law(
                f"frozen {name}",
                f"{name}[.., {still}] (shifts all logits of a query alike)",
                tex(name),
                lambda p: p[name][:, still].reshape(-1),
                degree=1,
            )

    def _value_output_law(self, prefix: str, g: int) -> Law:
        def evaluate(p: Mapping[str, Any]) -> Any:
            output = sum(p[f"{prefix}O"][h].T @ p[f"{prefix}O"][h] for h in self.members(g))
            return upper(self._gram(p, prefix, "V", [g]) - output)

        return Law(
            f"value-output {prefix}{g}",
            f"{self._square(prefix, 'V', str(g))}"
            + "".join(f" - {prefix}O[{h}]^T {prefix}O[{h}]" for h in self.members(g)),
            f"V_{{{g}}} V_{{{g}}}^\\top - \\sum_h O_h^\\top O_h",
            evaluate,
        )


def _block(difference: Callable[[Any], Any], where: list[int], p: Mapping[str, Any]) -> Any:
    return upper(difference(p)[where][:, where])


def _hermitian(
    difference: Callable[[Any], Any], a: list[int], b: list[int], p: Mapping[str, Any]
) -> Any:
    """Z Z^* of the complex rows z_j = row a_j + i row b_j, from the Gram matrix of the rows.

    The real part is on and above the diagonal of one matrix, the imaginary part below it.
    """
    gram = difference(p)
    real = gram[a][:, a] + gram[b][:, b]
    imaginary = gram[b][:, a] - gram[a][:, b]
    above = np.triu(np.ones((len(a), len(a)), int))
    return (_times(real, above) + _times(imaginary, 1 - above)).reshape(-1)


def _times(matrix: Any, constant: np.ndarray) -> Any:
    if hasattr(matrix, "new_tensor"):  # PyTorch
        return matrix * matrix.new_tensor(constant)
    return matrix * constant


def _sinusoids(tokens: int, width: int) -> np.ndarray:
    place = np.arange(tokens)[:, None]
    rate = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2, np.cos(place * rate), np.sin(place * rate))
