"""Heads of attention from the config.json that libraries write beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmft.texts import parse_json, read_text

_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")
_KEYS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")


def heads_beside(files: Sequence[Path]) -> tuple[int | None, int | None]:
    """Heads of queries, and of keys and values, by the nearest configuration; None if unknown."""
    for folder in dict.fromkeys(place for file in files for place in list(file.parents)[:2]):
        path = folder / "config.json"
        try:
            config = parse_json(read_text(path))
        except (OSError, ValueError):
            continue
        if isinstance(config, dict):
            config = config.get("text_config", config)
            heads, keys = _first(config, _HEADS), _first(config, _KEYS)
            # Falcon and StarCoder say only that there is one head of keys.
            if config.get("multi_query") and not config.get("new_decoder_architecture"):
                keys = 1
            return heads, keys
    return None, None


def _first(config: dict[str, Any], names: Sequence[str]) -> int | None:
    found = [config[name] for name in names if isinstance(config.get(name), int)]
    return found[0] if found else None
