"""Queries, keys and values of attention heads inside the tensors of common transformers.

A head is a run of rows (or of columns, where weights are stored transposed) of a weight or bias:

    separate        q_proj, k_proj, v_proj, query, key, value, ...: rows (head, head_dim)
    interleaved     query_key_value of GPT-NeoX, BLOOM, Megatron: rows (head, 3, head_dim)
    concatenated    in_proj_weight of PyTorch, qkv, qkv_proj, Wqkv: rows of all queries, then of
                    all keys, then of all values; c_attn of GPT-2 the same in columns

With fewer key and value heads than query heads (grouped queries) the separate and concatenated
layouts shrink accordingly.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmft.errors import InputError

QUERY, KEY, VALUE = "query", "key", "value"
_SEPARATE = {
    QUERY: ("q_proj", "query", "q_lin", "to_q", "wq", "q"),
    KEY: ("k_proj", "key", "k_lin", "to_k", "wk", "k"),
    VALUE: ("v_proj", "value", "v_lin", "to_v", "wv", "v"),
}
_INTERLEAVED = ("query_key_value",)
_CONCATENATED = ("qkv", "qkv_proj", "wqkv", "c_attn", "in_proj_weight", "in_proj_bias")


@dataclass(frozen=True)
class Part:
    """A share of a tensor: elements start + k period + [0, width) for k = 0 .. count - 1.

    projection : "query", "key", "value" or None; head : its number or None.
    """

    tensor: str
    start: int
    width: int
    period: int
    count: int = 1
    projection: str | None = None
    head: int | None = None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.width * self.count

    @property
    def name(self) -> str:
        """The tensor's name, with projection and head if it is a share of it."""
        words = [self.projection] if self.projection else []
        words += [] if self.head is None else [f"head {self.head}"]
        return f"{self.tensor} [{', '.join(words)}]" if words else self.tensor


def parts_of(
    tensor: str, shape: tuple[int, ...], heads: int | None, kv_heads: int | None
) -> list[Part]:
    """The parts of a tensor: itself, or its projections and heads.

    Parameters
    ----------
    tensor, shape : its name and shape.
    heads, kv_heads : number of query heads, and of key and value heads if that is another one;
        without `heads` nothing is split.

    Raises
    ------
    InputError : rows that the heads do not divide.
    """
    size = 1
    for extent in shape:
        size *= extent
    if heads is None or not shape or not size:
        return [Part(tensor, 0, size, size)]
    words = [word.lower() for word in tensor.split(".")]
    module = words[-1] if words[-1].startswith("in_proj_") else (words[-2:-1] or [""])[0]
    kv_heads = kv_heads or heads
    if module in _INTERLEAVED:
        order = [(name, head) for head in range(heads) for name in (QUERY, KEY, VALUE)]
        if kv_heads != heads:
            raise InputError("is interleaved by head, kv_heads must equal heads", tensor)
        return _split(tensor, shape, order)
    of = {QUERY: heads, KEY: kv_heads, VALUE: kv_heads}
    if module in _CONCATENATED:
        return _split(tensor, shape, [(name, head) for name in of for head in range(of[name])])
    for name, aliases in _SEPARATE.items():
        if module in aliases:
            return _split(tensor, shape, [(name, head) for head in range(of[name])])
    return [Part(tensor, 0, size, size)]


def _split(tensor: str, shape: tuple[int, ...], order: list[tuple[str, int]]) -> list[Part]:
    """Equal runs of rows, in this order of (projection, head); of columns for GPT-2's c_attn."""
    rows = shape[0]
    inner = 1
    for extent in shape[1:]:
        inner *= extent
    columns = "c_attn" in tensor and len(shape) == 2
    split = shape[1] if columns else rows
    if split % len(order):
        kind = "columns" if columns else "rows"
        raise InputError(
            f"has {split} {kind}, which {len(order)} heads (query, key, value) do not divide",
            tensor,
        )
    width = split // len(order) * (1 if columns else inner)
    period, count = (shape[1], rows) if columns else (rows * inner, 1)
    return [
        Part(tensor, i * width, width, period, count, projection, head)
        for i, (projection, head) in enumerate(order)
    ]
