"""Mixtures of experts, with every router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.architectures.glu import glu, glu_laws, glu_shapes
from dmft.conservation.catalogue import balancedness, neuron_balance, output_sum, unused
from dmft.conservation.law import Law, squares
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

Gate = Literal["softmax", "switch", "sigmoid", "normalised-sigmoid", "relu", "linear", "cosine"]
Expert = Literal["linear", "two-layer", "relu", "gelu", "swiglu", "geglu", "reglu", "bilinear"]
_GLU_GATES = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu", "bilinear": "linear"}


class MixtureOfExperts(Architecture):
    """Mixture of experts, sum over the selected i of gate_i(R x) E_i(x).

    widths : of the input, the hidden layer of an expert and the output.
    experts : their number n.
    top_k : how many are selected; if left out, all.
    gate : softmax (over the selected), switch (softmax over all, then selection), sigmoid,
        normalised-sigmoid (divided by the sum over the selected), relu, linear, cosine (softmax
        of cosines between x and the rows of R).
    expert : linear (one matrix), two-layer (linear), relu, gelu, swiglu, geglu, reglu, bilinear.
    """

    kind: Literal["moe"] = "moe"
    widths: Annotated[tuple[Size, Size, Size], BeforeValidator(split_list)] = (4, 3, 3)
    experts: int = Field(3, ge=1, le=64)
    top_k: int | None = Field(None, ge=1)
    gate: Gate = "softmax"
    expert: Expert = "swiglu"

    @model_validator(mode="after")
    def _selects_what_exists(self) -> MixtureOfExperts:
        if self.top_k is not None and self.top_k > self.experts:
            raise InputError(
                f"given {self.top_k}, must be at most the number of experts, {self.experts}",
                "top_k",
            )
        return self

    @property
    def selected(self) -> int:
        """How many experts are active at once."""
        return self.experts if self.top_k is None else self.top_k

    def parameters(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"R": (self.experts, self.widths[0])}
        for i in range(1, self.experts + 1):
            shapes |= self._expert_shapes(f"E{i}.")
        return shapes

    def _expert_shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        inputs, hidden, outputs = self.widths
        if self.expert in _GLU_GATES:
            return glu_shapes(prefix, inputs, hidden, outputs)
        if self.expert == "linear":
            return {f"{prefix}A": (outputs, inputs)}
        return {f"{prefix}A": (outputs, hidden), f"{prefix}B": (hidden, inputs)}

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.inputs(self.widths[0], 1)
        weights = self._weights(theta["R"], x, draws)
        out = None
        for i in range(1, self.experts + 1):
            part = weights[i - 1 : i] * self._expert(theta, f"E{i}.", x, draws).reshape(-1)
            out = part if out is None else out + part
        assert out is not None
        return out

    def _weights(self, router: Tensor, x: Tensor, draws: Draws) -> Tensor:
        logits = (router @ x).reshape(-1)
        if self.gate == "cosine":
            norm = (router * router).sum(-1)
            logits = logits * draws.inverse_root(norm)
            logits = logits * draws.inverse_root((x * x).sum())
        chosen = draws.top(logits, self.selected)
        if self.gate in ("softmax", "cosine"):
            return draws.softmax(logits, chosen)
        if self.gate == "switch":
            return draws.softmax(logits) * chosen
        name = "sigmoid" if self.gate == "normalised-sigmoid" else self.gate
        weights = draws.activation(name, logits) * chosen
        if self.gate == "normalised-sigmoid":
            return weights / weights.sum(-1, keepdims=True)
        return weights

    def _expert(self, theta: Mapping[str, Tensor], prefix: str, x: Tensor, draws: Draws) -> Tensor:
        if self.expert in _GLU_GATES:
            return glu(theta, prefix, x, _GLU_GATES[self.expert], draws)
        if self.expert == "linear":
            return theta[f"{prefix}A"] @ x
        name = "linear" if self.expert == "two-layer" else self.expert
        return theta[f"{prefix}A"] @ draws.activation(name, theta[f"{prefix}B"] @ x)

    def gradient_laws(self) -> tuple[Law, ...]:
        laws = self._router_laws()
        for i in range(1, self.experts + 1):
            laws += self._expert_laws(f"E{i}.")
        if self.loss == "cross-entropy":
            laws += [output_sum(f"E{i}.A") for i in range(1, self.experts + 1)]
        return tuple(laws)

    def _router_laws(self) -> list[Law]:
        renormalised = self.gate in ("softmax", "cosine", "normalised-sigmoid")
        if renormalised and self.selected == 1:
            return [unused("R", "the weight of the only expert is 1")]
        if self.gate in ("softmax", "switch"):
            return [output_sum("R")]
        if self.gate == "cosine":
            return [Law("norms R", "|R[i,:]|^2", "\\|R_{i:}\\|^2", lambda p: squares(p["R"], 1))]
        if self.gate in ("relu", "linear"):
            return [self._scale_law(i) for i in range(self.experts)]
        return []

    def _scale_law(self, i: int) -> Law:
        """A homogeneous gate can be scaled against the last matrix of its expert."""
        name = f"E{i + 1}.A"

        def evaluate(p: Mapping[str, Any]) -> Any:
            return squares(p["R"][i]) - squares(p[name])

        return Law(f"gate {i + 1}", f"|R[{i},:]|^2 - |{name}|^2",
                   f"\\|R_{{{i + 1}:}}\\|^2 - \\|A_{{{i + 1}}}\\|^2", evaluate)  # fmt: skip

    def _expert_laws(self, prefix: str) -> list[Law]:
        if self.expert in _GLU_GATES:
            return list(glu_laws(prefix, _GLU_GATES[self.expert]))
        if self.expert == "two-layer":
            return [balancedness(f"{prefix}B", f"{prefix}A")]
        if self.expert == "relu":
            return [neuron_balance(f"{prefix}B", f"{prefix}A")]
        return []
