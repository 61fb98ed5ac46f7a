"""Small models of the families of transformers: how many laws each has, or why it is not known."""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from dmft.conservation import laws
from dmft.conservation.models import ModelLaws

transformers.logging.set_verbosity_error()

# Values for the settings that a configuration has.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size",
                     "embed_dim", "word_embed_proj_dim", "num_mel_bins"), 8),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
                     "decoder_layers", "num_encoder_layers", "num_decoder_layers", "depth",
                     "num_attention_heads", "n_head", "n_heads", "num_heads",
                     "encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff",
                     "n_inner", "hidden_dim"), 12),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_dropout",
                     "attention_dropout", "dropout", "activation_dropout", "dropout_rate",
                     "resid_pdrop", "embd_pdrop", "attn_pdrop", "drop_path_rate"), 0.0),
    "vocab_size": 11, "num_key_value_heads": 1, "max_position_embeddings": 64, "n_positions": 64,
    "image_size": 16, "patch_size": 4, "num_channels": 3, "head_dim": 4, "d_kv": 4,
    "max_source_positions": 32, "max_target_positions": 32, "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}  # fmt: skip
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}

Family = tuple[str, str, str, dict[str, Any]]  # kind, configuration, class, settings
_FILE = Path(__file__).with_suffix(".json")
FAMILIES: list[Family] = [tuple(one) for one in json.loads(_FILE.read_text(encoding="utf-8"))]


def build(family: Family) -> torch.nn.Module:
    """A small model of a family, with random weights, in training mode without dropout."""
    _, name, kind, given = family
    config = getattr(transformers, f"{name}Config")
    base = config()
    alias = getattr(config, "attribute_map", {})
    chosen = {k: v for k, v in SMALL.items() if k in vars(base) or k in alias}
    chosen |= {k: v for k, v in TOKENS.items() if getattr(base, k, None) is not None}
    same = {alias.get(k, k) for k in given}
    chosen = {
        k: v for k, v in chosen.items()
        if alias.get(k, k) not in same and not (k in alias and alias[k] in chosen)
    }  # fmt: skip
    torch.manual_seed(0)
    return getattr(transformers, kind)(config(**chosen, **given))


def count(family: Family) -> tuple[ModelLaws, float]:
    """The laws of a small model of a family, and the seconds of CPU that they took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(family)
        start = time.process_time()
        return laws(model, check=True), time.process_time() - start


def row(family: Family) -> str:
    """A line of the table."""
    found, _ = count(family)
    kind, _, name, _ = family
    if found.determined and found.checked:
        what, laws_ = "counted", str(found.count)
    elif found.determined:
        what, laws_ = f"counted; not checked: {found.unchecked}", str(found.count)
    else:
        what, laws_ = f"not determined: {'; '.join(found.unrecognised)}", f"at least {found.count}"
    return f"| {name} | {kind} | {found.dimension} | {laws_} | {what} |"


def page() -> str:
    """The page of the documentation."""
    rows = [row(family) for family in FAMILIES]
    counted = sum("| counted" in line for line in rows)
    return "\n".join([
        "# Laws of the families of transformers",
        "",
        f"Of {len(rows)} small models, each with one or two layers of width 8, in training mode",
        f"and without dropout, {counted} are counted; for the others the reason is given. All laws",
        "were tried against gradients of random data in float64. `scripts/model_table` writes this",
        "page; [model-laws.md](model-laws.md) says how a model is followed.",
        "",
        "| model | kind | parameters | laws | |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
    ])  # fmt: skip
