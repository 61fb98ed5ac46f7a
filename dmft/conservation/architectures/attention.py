"""Attention layers: multi-head, grouped-query, with every positional scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from dmft.conservation.architectures.attention_laws import AttentionLaws
from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.catalogue import stream_mean
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.law import Law
    from dmft.conservation.tensor import Tensor

Position = Literal["none", "sinusoidal", "rotary", "alibi", "t5"]
Score = Literal["softmax", "linear", "relu", "sigmoid"]


class Attention(Architecture):
    """Attention layer, sum over heads h of O_h softmax(Q_h x (K_g x)^T) V_g x.

    width : d, of the inputs and outputs.
    heads : number of heads.
    kv_heads : number of key-value heads g, divides `heads`; if left out, as many.
    head_dim : dimension of the heads.
    tokens : length of the sequences.
    position : none, sinusoidal (added to the inputs), rotary, alibi, t5 (learned bias by distance).
    frequencies : rotary: one label per plane; equal labels rotate alike, 0 does not rotate.
        If left out, all are different.
    pairing : rotary: 'adjacent' pairs dimensions (2j, 2j+1), 'halves' (j, j + d_h/2).
    causal : a token sees only itself and earlier ones.
    bias : biases of q, k, v and of the output.
    qk_norm : q and k are divided by their root mean square and get gains.
    eps : a constant is added under the roots of qk_norm.
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
    eps: bool = False
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
        if self.eps and not self.qk_norm:
            raise InputError("given without qk_norm, which it belongs to", "eps")
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
            if self.eps:
                mean = mean + draws.constant("eps", [1e-5])
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

    def gradient_laws(self) -> tuple[Law, ...]:
        laws = list(self.layer_laws(""))
        if self.loss == "cross-entropy":
            laws += [stream_mean(name, axis) for name, axis in self.writers("").items()]
        return tuple(laws)

    def writers(self, prefix: str) -> dict[str, int]:
        """What adds to the outputs, with the axis of the outputs in it."""
        return {f"{prefix}O": -2} | ({f"{prefix}bO": -1} if self.bias else {})

    def layer_laws(self, prefix: str) -> Iterator[Law]:
        """The laws of the layer as part of a network."""
        return iter(AttentionLaws(self, prefix))

    def members(self, g: int) -> list[int]:
        """The heads that use key-value head g."""
        share = self.heads // self.groups
        return list(range(g * share, (g + 1) * share))


def _sinusoids(tokens: int, width: int) -> np.ndarray:
    place = np.arange(tokens)[:, None]
    rate = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    return np.where(np.arange(width) % 2, np.cos(place * rate), np.sin(place * rate))
