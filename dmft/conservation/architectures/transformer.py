"""Whole transformers: embeddings, blocks of attention and feed-forward, norms, logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmft.conservation.architectures.attention import Attention
from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.architectures.glu import glu, glu_laws, glu_shapes
from dmft.conservation.architectures.norms import Norm, norm_shapes, normalise
from dmft.conservation.catalogue import (
    gain_balance,
    neuron_balance,
    output_sum,
    stream_mean,
    total_square,
    unused,
)
from dmft.conservation.law import Law
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

FeedForward = Literal["relu", "gelu", "silu", "swiglu", "geglu", "reglu"]
_GLU_GATES = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu"}


class Transformer(Architecture):
    """Pre-norm transformer: x += attention(norm(x)), x += feed-forward(norm(x)), logits.

    vocabulary : number of tokens that exist.
    width : d, of the residual stream.
    layers : number of blocks.
    heads : heads of attention, of dimension width/heads.
    kv_heads : number of key-value heads; if left out, as many as heads.
    hidden : width of the feed-forward layers.
    tokens : length of the sequences.
    position : learned (added to the embedding), rotary, none.
    frequencies : rotary: one label per plane of a head, see attention.
    norm : layer or rms.
    eps : a constant is added under the roots of the norms.
    feed_forward : relu, gelu, silu, swiglu, geglu, reglu.
    experts : number of gated units, mixed by a router; if left out, one and no router.
    top_k : how many experts a token selects; if left out, all.
    gate : of the router: softmax over the selected, or switch (softmax, then selection).
    bias : biases of attention and feed-forward.
    qk_norm : see attention.
    tied : the logits use the embedding, else a matrix U of their own.
    """

    kind: Literal["transformer"] = "transformer"
    loss: Literal["mse", "cross-entropy"] = "cross-entropy"
    vocabulary: int = Field(5, ge=2, le=200)
    width: Size = 4
    layers: int = Field(1, ge=1, le=8)
    heads: Size = 2
    kv_heads: Size | None = None
    hidden: Size = 4
    tokens: int = Field(3, ge=2, le=16)
    position: Literal["learned", "rotary", "none"] = "learned"
    frequencies: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None, BeforeValidator(split_list)
    ] = None
    norm: Norm = "layer"
    eps: bool = True
    feed_forward: FeedForward = "gelu"
    experts: int | None = Field(None, ge=1, le=64)
    top_k: int | None = Field(None, ge=1)
    gate: Literal["softmax", "switch"] = "softmax"
    bias: bool = False
    qk_norm: bool = False
    tied: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Transformer:
        if self.width % self.heads:
            raise InputError(f"given {self.heads}, must divide width {self.width}", "heads")
        if self.norm == "layer" and self.width < 2:
            raise InputError("given 1, must be at least 2 for the norm 'layer'", "width")
        if self.experts and self.feed_forward not in _GLU_GATES:
            raise InputError(
                f"given with feed_forward {self.feed_forward}, needs a gated one", "experts"
            )
        if self.top_k is not None and self.top_k > (self.experts or 0):
            raise InputError(
                f"given {self.top_k}, must be at most the number of experts, {self.experts or 0}",
                "top_k",
            )
        self.attention()
        return self

    def attention(self) -> Attention:
        """The attention layer of every block."""
        return Attention(
            width=self.width,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.width // self.heads,
            tokens=self.tokens,
            position="rotary" if self.position == "rotary" else "none",
            causal=True,
            bias=self.bias,
            qk_norm=self.qk_norm,
            eps=self.qk_norm and self.eps,
            frequencies=self.frequencies,
        )

    def _prefixes(self) -> list[str]:
        return [f"h{i}." for i in range(1, self.layers + 1)]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        d = self.width
        shapes: dict[str, tuple[int, ...]] = {"E": (self.vocabulary, d)}
        if self.position == "learned":
            shapes["P"] = (self.tokens, d)
        for prefix in self._prefixes():
            shapes |= norm_shapes(f"{prefix}n1.", d, self.norm)
            shapes |= self.attention().shapes(prefix)
            shapes |= norm_shapes(f"{prefix}n2.", d, self.norm)
            shapes |= self._feed_forward_shapes(prefix)
        shapes |= norm_shapes("n.", d, self.norm)
        if not self.tied:
            shapes["U"] = (self.vocabulary, d)
        return shapes

    def _expert_prefixes(self, prefix: str) -> list[str]:
        return [f"{prefix}E{i}." for i in range(1, (self.experts or 0) + 1)]

    def _feed_forward_shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        if self.experts:
            shapes: dict[str, tuple[int, ...]] = {f"{prefix}R": (self.experts, self.width)}
            for expert in self._expert_prefixes(prefix):
                shapes |= glu_shapes(expert, self.width, self.hidden, self.width)
            return shapes
        if self.feed_forward in _GLU_GATES:
            return glu_shapes(prefix, self.width, self.hidden, self.width)
        shapes = {
            f"{prefix}A": (self.width, self.hidden), f"{prefix}B": (self.hidden, self.width)
        }  # fmt: skip
        if self.bias:
            shapes |= {f"{prefix}bA": (self.width,), f"{prefix}bB": (self.hidden,)}
        return shapes

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.one_hot(self.vocabulary, self.tokens) @ theta["E"]
        if self.position == "learned":
            x = x + theta["P"]
        for prefix in self._prefixes():
            y = self._normalise(theta, f"{prefix}n1.", x, draws)
            x = x + self.attention().attend(theta, prefix, y, draws)
            y = self._normalise(theta, f"{prefix}n2.", x, draws)
            x = x + self._feed_forward(theta, prefix, y, draws)
        x = self._normalise(theta, "n.", x, draws)
        return x @ theta["E" if self.tied else "U"].T

    def _normalise(
        self, theta: Mapping[str, Tensor], prefix: str, x: Tensor, draws: Draws
    ) -> Tensor:
        return normalise(theta, prefix, x, self.norm, self.eps, draws)

    def _feed_forward(
        self, theta: Mapping[str, Tensor], prefix: str, x: Tensor, draws: Draws
    ) -> Tensor:
        if self.experts:
            return self._mixture(theta, prefix, x, draws)
        if self.feed_forward in _GLU_GATES:
            return glu(theta, prefix, x.T, _GLU_GATES[self.feed_forward], draws).T
        z = x @ theta[f"{prefix}B"].T
        z = z + theta[f"{prefix}bB"] if self.bias else z
        out = draws.activation(self.feed_forward, z) @ theta[f"{prefix}A"].T
        return out + theta[f"{prefix}bA"] if self.bias else out

    def _mixture(self, theta: Mapping[str, Tensor], prefix: str, x: Tensor, draws: Draws) -> Tensor:
        """Experts of every token, weighted by the router."""
        logits = x @ theta[f"{prefix}R"].T
        chosen = draws.top(logits, self.top_k or self.experts or 1)
        if self.gate == "softmax":
            weights = draws.softmax(logits, chosen)
        else:
            weights = draws.softmax(logits) * chosen
        out = None
        for i, expert in enumerate(self._expert_prefixes(prefix)):
            part = glu(theta, expert, x.T, _GLU_GATES[self.feed_forward], draws).T
            part = part * weights[:, i : i + 1]
            out = part if out is None else out + part
        assert out is not None
        return out

    def gradient_laws(self) -> tuple[Law, ...]:
        return tuple(self._laws())

    def _laws(self) -> Iterator[Law]:
        for prefix in self._prefixes():
            yield from self.attention().layer_laws(prefix)
            yield from self._feed_forward_laws(prefix)
            reads = [prefix + name for name in ("Q", "K", "V")]
            yield gain_balance(self._gains(f"{prefix}n1."), reads)
            yield gain_balance(self._gains(f"{prefix}n2."), self._reading(prefix))
        if not self.tied:
            yield gain_balance(self._gains("n."), ["U"])
        yield from self._stream_laws()
        if not self.tied and self.loss == "cross-entropy":
            yield output_sum("U")

    def _gains(self, prefix: str) -> list[str]:
        return list(norm_shapes(prefix, 1, self.norm))

    def _reading(self, prefix: str) -> list[str]:
        """Matrices of the feed-forward layer that read the normalised stream."""
        if self.experts:
            experts = self._expert_prefixes(prefix)
            return [f"{prefix}R", *(one + name for one in experts for name in ("B", "C"))]
        return [prefix + name for name in ("B", "C") if prefix + name in self.parameters()]

    def _feed_forward_laws(self, prefix: str) -> Iterator[Law]:
        if self.experts:
            yield self._router_law(f"{prefix}R")
            for expert in self._expert_prefixes(prefix):
                yield from glu_laws(expert, _GLU_GATES[self.feed_forward])
        elif self.feed_forward in _GLU_GATES:
            yield from glu_laws(prefix, _GLU_GATES[self.feed_forward])
        elif self.feed_forward == "relu":
            bias = f"{prefix}bB" if self.bias else None
            yield neuron_balance(f"{prefix}B", f"{prefix}A", bias)

    def _router_law(self, name: str) -> Law:
        if self.gate == "softmax" and (self.top_k or self.experts) == 1:
            return unused(name, "the weight of the only expert is 1")
        return output_sum(name)

    def _stream_laws(self) -> Iterator[Law]:
        """What the final and all other norms do not see of the residual stream."""
        writers = self._writers()
        if self.norm == "layer":
            for name, axis in writers.items():
                if name == "E" and self.tied:
                    continue
                yield stream_mean(name, axis)
        if not self.eps:
            # A tied embedding scales the logits too; the last gain makes up for it.
            against = self._gains("n.") if self.tied else []
            yield total_square(list(writers), "scale of the stream", against)
        if self.position == "learned" and (not self.tied or self.loss == "cross-entropy"):
            yield Law(
                "token-position shift",
                "sum_v E[v,i] - sum_t P[t,i]",
                "\\sum_v E_{vi} - \\sum_t P_{ti}",
                lambda p: p["E"].sum(0) - p["P"].sum(0),
                degree=1,
            )

    def _writers(self) -> dict[str, int]:
        """What adds to the residual stream, with the axis of the stream in it."""
        writers = {"E": -1}
        if self.position == "learned":
            writers["P"] = -1
        for prefix in self._prefixes():
            writers |= self.attention().writers(prefix)
            for expert in self._expert_prefixes(prefix) or [prefix]:
                writers[f"{expert}A"] = -2
            if self.bias and self.feed_forward not in _GLU_GATES:
                writers[f"{prefix}bA"] = -1
        return writers
