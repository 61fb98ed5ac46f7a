"""Models of transformers, recognised by the exact class; a subclass may compute something else.

Each reader describes how one class really uses its tensors: fused or not, which axis is the input,
how rotary planes are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.activations import degree, is_linear
from dmft.conservation.models.blocks import (
    Attention,
    FeedForward,
    Norm,
    Rotation,
    Router,
    fused_heads,
)
from dmft.conservation.models.forms import Slot, View
from dmft.conservation.models.stream import Head, Stream
from dmft.conservation.models.survey import Survey

if TYPE_CHECKING:
    import torch

Module = Any  # attributes of modules are dynamic


def reader(module: torch.nn.Module) -> Callable[[Survey, str, Module], None] | None:
    """The function that surveys a module, if its class is known."""
    return _READERS.get(_class(module))


def is_known(module: torch.nn.Module) -> bool:
    """Whether the class is one of those below."""
    return _class(module) in _READERS


def _class(module: Any) -> str:
    kind = type(module)
    place, _, _ = kind.__module__.rpartition(".modeling_")
    return f"{place.removeprefix('transformers.models.')}.{kind.__name__}"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _parameter(survey: Survey, prefix: str, module: Module, name: str) -> Slot | None:
    """The slot of a parameter that a module may lack."""
    return survey.slot(_join(prefix, name)) if getattr(module, name, None) is not None else None


def _layer_norm(survey: Survey, prefix: str, norm: Module, readers: list[Slot]) -> Norm:
    gain = _parameter(survey, prefix, norm, "weight")
    bias = _parameter(survey, prefix, norm, "bias")
    return Norm(prefix, gain, bias, norm.eps, centred=True, readers=readers)


def _rms_norm(survey: Survey, prefix: str, norm: Module, readers: list[Slot]) -> Norm:
    return Norm(
        prefix, survey.slot(f"{prefix}.weight"), None, norm.variance_epsilon,
        centred=False, readers=readers,
    )  # fmt: skip


def _stream_dropout(module: Module) -> str:
    """An active dropout on the stream; those of attention weights do no harm."""
    for name, child in module.named_modules():
        on_stream = type(child).__name__ == "Dropout" and "attn_dropout" not in name
        if on_stream and child.p > 0 and child.training:
            return name
    return ""


def _rotation(size: int, rotary: Module, *, halves: bool = True) -> Rotation:
    frequencies = rotary.inv_freq.double().tolist()
    still = tuple(j for j, frequency in enumerate(frequencies) if frequency == 0)
    turning = [frequency for frequency in frequencies if frequency != 0]
    return Rotation(len(frequencies), halves, size, still, len(set(turning)) < len(turning))


# --- GPT-2: fused Conv1D layers, whose weights are (input, output)


def _gpt2(survey: Survey, prefix: str, model: Module, head: Head | None = None) -> None:
    config = model.config
    if config.add_cross_attention:
        survey.unrecognised.append(_join(prefix, "h") + ": cross-attention")
        return
    words, places = (survey.slot(_join(prefix, f"{name}.weight")) for name in ("wte", "wpe"))
    stream = Stream(
        prefix, [words, places], head=head, dropout=_stream_dropout(model),
        shifts=[(f"token-position shift {prefix or 'model'}", [(words, 1.0), (places, -1.0)])],
    )  # fmt: skip
    for i, block in enumerate(model.h):
        place = _join(prefix, f"h.{i}")
        attention = _gpt2_attention(survey, f"{place}.attn", block.attn)
        dense = _gpt2_feed_forward(survey, f"{place}.mlp", block.mlp)
        stream.layers += [attention, dense]
        stream.norms += [
            _layer_norm(survey, f"{place}.ln_1", block.ln_1, attention.readers),
            _layer_norm(survey, f"{place}.ln_2", block.ln_2, dense.readers),
        ]
    stream.last = _layer_norm(survey, _join(prefix, "ln_f"), model.ln_f, [])
    stream.survey(survey)


def _gpt2_attention(survey: Survey, place: str, layer: Module) -> Attention:
    heads, size, width = layer.num_heads, layer.head_dim, layer.embed_dim
    parts: dict[str, Any] = {}
    for i, part in enumerate("qkv"):
        parts[part] = survey.slot(f"{place}.c_attn.weight", part).then(
            fused_heads(i * width, width, (heads, 1, size), transposed=True)
        )
        parts[f"bias_{part}"] = survey.slot(f"{place}.c_attn.bias", part).then(
            fused_heads(i * width, width, (heads, 1, size), bias=True)
        )
    output = survey.slot(f"{place}.c_proj.weight").then(lambda x: x.unflatten(0, (heads, 1, size)))
    return Attention(place, o=output, bias_o=survey.slot(f"{place}.c_proj.bias"), **parts)


def _gpt2_feed_forward(survey: Survey, place: str, layer: Module) -> FeedForward:
    return FeedForward(
        place, survey.slot(f"{place}.c_fc.weight").then(lambda x: x.T),
        survey.slot(f"{place}.c_proj.weight"),
        bias_inner=survey.slot(f"{place}.c_fc.bias"),
        bias_outer=survey.slot(f"{place}.c_proj.bias"), **_activation(layer.act),
    )  # fmt: skip


def _gpt2_language(survey: Survey, prefix: str, model: Module) -> None:
    _gpt2(survey, _join(prefix, "transformer"), model.transformer, _head(survey, prefix, model))


def _head(
    survey: Survey, prefix: str, model: Module, name: str = "lm_head",
    embedding: str | None = None,
) -> Head:  # fmt: skip
    layer = getattr(model, name)
    weight = survey.slot(_join(prefix, f"{name}.weight"))
    inputs = model.get_input_embeddings() if embedding is None else None
    tied = inputs is not None and inputs.weight is layer.weight
    bias = _parameter(survey, _join(prefix, name), layer, "bias")
    return Head(weight, bias, tied)


def _activation(activation: Module) -> dict[str, Any]:
    return {
        "degree": degree(activation), "linear": is_linear(activation),
        "activation": type(activation).__name__,
    }  # fmt: skip


# --- Llama and its relatives: rotary, RMS norms, gated units, grouped queries, experts


def _llama(survey: Survey, prefix: str, model: Module, head: Head | None = None) -> None:
    words = survey.slot(_join(prefix, "embed_tokens.weight"))
    stream = Stream(prefix, [words], head=head, dropout=_stream_dropout(model))
    for i, block in enumerate(model.layers):
        place = _join(prefix, f"layers.{i}")
        attention = _llama_attention(
            survey, f"{place}.self_attn", block.self_attn, model.rotary_emb
        )
        parts = list(_llama_feed_forward(survey, f"{place}.mlp", block.mlp))
        stream.layers += [attention, *parts]
        reading = [
            slot
            for part in parts
            for slot in ([part.weight] if isinstance(part, Router) else part.readers)
        ]
        stream.norms += [
            _rms_norm(survey, f"{place}.input_layernorm", block.input_layernorm, attention.readers),
            _rms_norm(
                survey, f"{place}.post_attention_layernorm", block.post_attention_layernorm, reading
            ),
        ]
    stream.last = _rms_norm(survey, _join(prefix, "norm"), model.norm, [])
    stream.survey(survey)


def _llama_attention(survey: Survey, place: str, layer: Module, rotary: Module) -> Attention:
    size = layer.head_dim
    groups = layer.k_proj.weight.shape[0] // size
    copies = layer.q_proj.weight.shape[0] // size // groups

    def producer(name: str, copies: int) -> tuple[Slot, Slot | None]:
        weight = survey.slot(f"{place}.{name}.weight")
        bias = _parameter(survey, f"{place}.{name}", getattr(layer, name), "bias")
        split = (groups, copies, size)
        return weight.then(lambda x: x.unflatten(0, split)), (
            bias.then(lambda x: x.unflatten(0, split).unsqueeze(-1)) if bias else None
        )

    (q, bias_q), (k, bias_k), (v, bias_v) = (
        producer("q_proj", copies), producer("k_proj", 1), producer("v_proj", 1)
    )  # fmt: skip
    output = survey.slot(f"{place}.o_proj.weight").then(
        lambda x: x.T.unflatten(0, (groups, copies, size))
    )
    normalised = hasattr(layer, "q_norm")
    return Attention(
        place, q, k, v, output, bias_q, bias_k, bias_v,
        _parameter(survey, f"{place}.o_proj", layer.o_proj, "bias"), _rotation(size, rotary),
        survey.slot(f"{place}.q_norm.weight") if normalised else None,
        survey.slot(f"{place}.k_norm.weight") if normalised else None,
        max(layer.q_norm.variance_epsilon, layer.k_norm.variance_epsilon) if normalised else None,
    )  # fmt: skip


def _llama_feed_forward(
    survey: Survey, place: str, layer: Module
) -> Iterator[FeedForward | Router]:
    if not hasattr(layer, "experts"):
        bias: dict[str, Any] = {
            f"bias_{role}": _parameter(survey, f"{place}.{name}", getattr(layer, name), "bias")
            for role, name in (("inner", "up_proj"), ("gate", "gate_proj"), ("outer", "down_proj"))
        }
        yield FeedForward(
            place, survey.slot(f"{place}.up_proj.weight"),
            survey.slot(f"{place}.down_proj.weight").then(lambda x: x.T),
            survey.slot(f"{place}.gate_proj.weight"), **bias, **_activation(layer.act_fn),
        )  # fmt: skip
        return
    router, experts = layer.gate, layer.experts
    divided = getattr(router, "norm_topk_prob", True)  # Mixtral always divides
    yield Router(
        place, survey.slot(f"{place}.gate.weight"), only=bool(divided and router.top_k == 1)
    )
    hidden = experts.intermediate_dim
    name = f"{place}.experts.gate_up_proj"
    yield FeedForward(
        f"{place}.experts", survey.slot(name, "up").then(lambda x: x.narrow(1, hidden, hidden)),
        survey.slot(f"{place}.experts.down_proj").then(lambda x: x.transpose(1, 2)),
        survey.slot(name, "gate").then(lambda x: x.narrow(1, 0, hidden)), rows=2,
        **_activation(experts.act_fn),
    )  # fmt: skip


def _llama_language(survey: Survey, prefix: str, model: Module) -> None:
    _llama(survey, _join(prefix, "model"), model.model, _head(survey, prefix, model))


# --- GPT-NeoX: queries, keys and values interleaved by head, two norms that may be parallel


def _neox(survey: Survey, prefix: str, model: Module, head: Head | None = None) -> None:
    words = survey.slot(_join(prefix, "embed_in.weight"))
    stream = Stream(prefix, [words], head=head, dropout=_stream_dropout(model))
    for i, block in enumerate(model.layers):
        place = _join(prefix, f"layers.{i}")
        attention = _neox_attention(survey, f"{place}.attention", block.attention, model.rotary_emb)
        mlp = block.mlp
        dense = FeedForward(
            f"{place}.mlp", survey.slot(f"{place}.mlp.dense_h_to_4h.weight"),
            survey.slot(f"{place}.mlp.dense_4h_to_h.weight").then(lambda x: x.T),
            bias_inner=survey.slot(f"{place}.mlp.dense_h_to_4h.bias"),
            bias_outer=survey.slot(f"{place}.mlp.dense_4h_to_h.bias"), **_activation(mlp.act),
        )  # fmt: skip
        stream.layers += [attention, dense]
        for name, part in (
            ("input_layernorm", attention), ("post_attention_layernorm", dense)
        ):  # fmt: skip
            norm = getattr(block, name)
            stream.norms.append(_layer_norm(survey, f"{place}.{name}", norm, part.readers))
    name = _join(prefix, "final_layer_norm")
    stream.last = _layer_norm(survey, name, model.final_layer_norm, [])
    stream.survey(survey)


def _neox_attention(survey: Survey, place: str, layer: Module, rotary: Module) -> Attention:
    size = layer.head_size
    heads = layer.query_key_value.weight.shape[0] // (3 * size)
    parts: dict[str, Any] = {}
    for i, part in enumerate("qkv"):
        parts[part] = survey.slot(f"{place}.query_key_value.weight", part).then(
            _of_three(i, heads, size)
        )
        bias = _parameter(survey, f"{place}.query_key_value", layer.query_key_value, "bias")
        if bias:
            parts[f"bias_{part}"] = survey.slot(bias.name, part).then(
                _of_three(i, heads, size, bias=True)
            )
    output = survey.slot(f"{place}.dense.weight")
    return Attention(
        place, o=output.then(lambda x: x.T.unflatten(0, (heads, 1, size))),
        bias_o=_parameter(survey, f"{place}.dense", layer.dense, "bias"),
        rotation=_rotation(size, rotary), **parts,
    )  # fmt: skip


def _of_three(i: int, heads: int, size: int, *, bias: bool = False) -> View:
    """Queries, keys or values of every head, which lie side by side for each head."""

    def view(x: Any) -> Any:
        x = x.unflatten(0, (heads, 3, size)).narrow(1, i, 1)
        return x.unsqueeze(-1) if bias else x

    return view


def _neox_language(survey: Survey, prefix: str, model: Module) -> None:
    name = "embed_out" if hasattr(model, "embed_out") else "lm_head"
    _neox(survey, _join(prefix, "gpt_neox"), model.gpt_neox, _head(survey, prefix, model, name))


# --- ViT: patches, a class token, positions


def _vit(survey: Survey, prefix: str, model: Module, head: Head | None = None) -> None:
    place = _join(prefix, "embeddings")
    embeddings = model.embeddings
    if embeddings.mask_token is not None:
        survey.unrecognised.append(f"{place}.mask_token")
    token = survey.slot(f"{place}.cls_token").then(lambda x: x[0, 0])
    places = survey.slot(f"{place}.position_embeddings").then(lambda x: x[0])
    patches = survey.slot(f"{place}.patch_embeddings.projection.weight")
    bias = survey.slot(f"{place}.patch_embeddings.projection.bias")
    stream = Stream(
        prefix,
        [patches.then(lambda x: x.movedim(0, -1)), bias, token, places],
        [
            (f"class token-position shift {prefix or 'model'}",
             [(token, 1.0), (_part(places, "0", 0, 1), -1.0)]),
            (f"patch-position shift {prefix or 'model'}",
             [(bias, 1.0), (_part(places, "1..", 1, None), -1.0)]),
        ],
        head=head, dropout=_stream_dropout(model),
    )  # fmt: skip
    for i, block in enumerate(model.layers):
        place = _join(prefix, f"layers.{i}")
        attention = _vit_attention(survey, f"{place}.attention", block.attention)
        dense = FeedForward(
            f"{place}.mlp", survey.slot(f"{place}.mlp.fc1.weight"),
            survey.slot(f"{place}.mlp.fc2.weight").then(lambda x: x.T),
            bias_inner=survey.slot(f"{place}.mlp.fc1.bias"),
            bias_outer=survey.slot(f"{place}.mlp.fc2.bias"),
            **_activation(block.mlp.activation_fn),
        )  # fmt: skip
        stream.layers += [attention, dense]
        for name, part in (("layernorm_before", attention), ("layernorm_after", dense)):
            norm = getattr(block, name)
            stream.norms.append(_layer_norm(survey, f"{place}.{name}", norm, part.readers))
    stream.last = _layer_norm(survey, _join(prefix, "layernorm"), model.layernorm, [])
    if model.pooler is not None:
        survey.unrecognised.append(_join(prefix, "pooler"))
    stream.survey(survey)


def _part(slot: Slot, label: str, start: int, stop: int | None) -> Slot:
    part = slot.then(lambda x: x[start:stop])
    return Slot(part.name, part.view, label)


def _vit_attention(survey: Survey, place: str, layer: Module) -> Attention:
    heads, size = layer.num_attention_heads, layer.head_dim
    parts: dict[str, Any] = {}
    for part in "qkv":
        name = f"{place}.{part}_proj"
        parts[part] = survey.slot(f"{name}.weight").then(lambda x: x.unflatten(0, (heads, 1, size)))
        bias = _parameter(survey, name, getattr(layer, f"{part}_proj"), "bias")
        if bias:
            parts[f"bias_{part}"] = bias.then(
                lambda x: x.unflatten(0, (heads, 1, size)).unsqueeze(-1)
            )
    output = survey.slot(f"{place}.o_proj.weight")
    return Attention(
        place, o=output.then(lambda x: x.T.unflatten(0, (heads, 1, size))),
        bias_o=survey.slot(f"{place}.o_proj.bias"), **parts,
    )  # fmt: skip


def _vit_classifier(survey: Survey, prefix: str, model: Module) -> None:
    head = None
    if type(model.classifier).__name__ == "Linear":
        head = _head(survey, prefix, model, "classifier", embedding="")
    _vit(survey, _join(prefix, "vit"), model.vit, head)


_READERS: dict[str, Callable[[Survey, str, Module], None]] = {
    "gpt2.GPT2Model": _gpt2,
    "gpt2.GPT2LMHeadModel": _gpt2_language,
    **{
        f"{place}.{name}Model": _llama
        for place, name in (
            ("llama", "Llama"), ("mistral", "Mistral"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3"),
            ("mixtral", "Mixtral"), ("qwen3_moe", "Qwen3Moe"),
        )
    },
    **{
        f"{place}.{name}ForCausalLM": _llama_language
        for place, name in (
            ("llama", "Llama"), ("mistral", "Mistral"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3"),
            ("mixtral", "Mixtral"), ("qwen3_moe", "Qwen3Moe"),
        )
    },
    "gpt_neox.GPTNeoXModel": _neox,
    "gpt_neox.GPTNeoXForCausalLM": _neox_language,
    "vit.ViTModel": _vit,
    "vit.ViTForImageClassification": _vit_classifier,
}  # fmt: skip
