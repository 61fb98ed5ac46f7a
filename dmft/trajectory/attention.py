"""Queries, keys and values of attention heads inside the tensors of common transformers.

A head is a run of rows (or of columns, where weights are stored transposed) of a weight or bias:

    separate        q_proj, k_proj, v_proj, query, key, value, ...: rows (head, head_dim)
    interleaved     query_key_value of GPT-NeoX, BLOOM, Megatron: rows (head, 3, head_dim)
    concatenated    in_proj_weight of PyTorch, qkv, qkv_proj, Wqkv: rows of all queries, then of
                    all keys, then of all values; c_attn of GPT-2 the same in columns

With fewer key and value heads than query heads (grouped queries) the separate and concatenated
layouts shrink accordingly; their number follows from the shapes. Whether heads are rows or columns
follows from the shapes too, and from the length of the bias: c_attn is transposed in GPT-2, not in
nanoGPT. What stays in doubt is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from dmft.errors import InputError

QUERY, KEY, VALUE = "query", "key", "value"
_SEPARATE = {
    QUERY: ("q_proj", "query", "q_lin", "to_q", "wq", "q"),
    KEY: ("k_proj", "key", "k_lin", "to_k", "wk", "k"),
    VALUE: ("v_proj", "value", "v_lin", "to_v", "wv", "v"),
}
_INTERLEAVED = ("query_key_value",)
_FUSED_WORDS = ("in_proj_weight", "in_proj_bias")
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


Shapes = Mapping[str, tuple[int, ...]]


def parts_of(
    tensor: str,
    shape: tuple[int, ...],
    heads: int | None,
    kv_heads: int | None,
    shapes: Shapes | None = None,
) -> list[Part]:
    """The parts of a tensor: itself, or its projections and heads.

    Parameters
    ----------
    tensor, shape : its name and shape.
    heads, kv_heads : number of query heads, and of key and value heads if they are known;
        without `heads` nothing is split.
    shapes : of all tensors by name: those of the bias and of the queries decide what one shape
        leaves open.

    Raises
    ------
    InputError : rows that the heads do not divide, or heads that the shapes contradict or leave
        in doubt.
    """
    size = prod(shape)
    if heads is None or not shape or not size:
        return [Part(tensor, 0, size, size)]
    attention = _Attention(tensor, shape, heads, kv_heads, shapes or {tensor: shape})
    order = attention.order()
    if order is None:
        return [Part(tensor, 0, size, size)]
    return _split(tensor, shape, order, columns=attention.columns)


def attention_module(part: Part) -> str:
    """The module that queries, keys and values of one attention have in common."""
    words = part.tensor.split(".")
    return ".".join(words[: -1 if words[-1].lower() in _FUSED_WORDS else -2])


class _Attention:
    """A tensor that may hold projections, and what its neighbours say about it."""

    def __init__(
        self, tensor: str, shape: tuple[int, ...], heads: int, kv_heads: int | None, shapes: Shapes
    ) -> None:
        self.tensor, self.shape, self.shapes = tensor, shape, shapes
        self.heads, self.kv_heads = heads, kv_heads
        self.words = tensor.split(".")
        last = self.words[-1].lower()
        self.fused = last in _FUSED_WORDS
        self.module = last if self.fused else (self.words[-2:-1] or [""])[0].lower()
        self.columns = self._in_columns()
        self.rows = shape[1] if self.columns else shape[0]
        self.inputs = 0 if len(shape) < 2 else prod(shape) // self.rows

    def order(self) -> list[tuple[str, int]] | None:
        """(projection, head) of each run of rows, None if it holds no projections."""
        if self.module in _INTERLEAVED:
            return self._interleaved()
        if self.module in _CONCATENATED:
            return self._concatenated()
        for name, aliases in _SEPARATE.items():
            if self.module in aliases:
                heads = self.heads if name == QUERY else self._heads_of_keys()
                return [(name, head) for head in range(heads)]
        return None

    def _sibling(self, *names: str) -> tuple[int, ...] | None:
        """Shape of the tensor beside this one, of the last word or of module and last word."""
        place = self.words[: -len(names)]
        return self.shapes.get(".".join([*place, *names]))

    def _partner(self) -> tuple[int, ...] | None:
        """The bias that belongs to a weight, the weight that belongs to a bias."""
        if self.fused:
            other = "in_proj_bias" if self.words[-1] == "in_proj_weight" else "in_proj_weight"
            return self._sibling(other)
        if self.words[-1] == "bias":
            return self._sibling("weight") or self._sibling("kernel")
        return self._sibling("bias")

    def _in_columns(self) -> bool:
        """Whether heads are columns: by the bias, by three times the width, by the name."""
        if len(self.shape) != 2 or self.fused:
            return False
        rows, columns = self.shape
        bias = self._partner()
        if bias is not None and len(bias) == 1 and rows != columns:
            if bias[0] in (rows, columns):
                return bias[0] == columns
            raise InputError(
                f"has shape {self.shape} and a bias of {bias[0]}, which fits neither", self.tensor
            )
        if self.words[-1].lower() == "kernel":
            return True
        if self.module in _CONCATENATED + _INTERLEAVED and rows != columns:
            if rows == 3 * columns or columns == 3 * rows:
                return columns == 3 * rows
            if self.module == "c_attn":
                return self._columns_by_groups(rows, columns)
        return False

    def _columns_by_groups(self, rows: int, columns: int) -> bool:
        """Of grouped queries: the side on which whole heads fit."""
        for fits in (
            [self._groups(*sides) is not None for sides in ((rows, columns), (columns, rows))],
            [side % (3 * self.heads) == 0 for side in (rows, columns)],
        ):
            if fits[0] != fits[1]:
                return fits[1]
        raise InputError(
            f"has shape {self.shape}, which leaves open whether heads are rows or columns",
            self.tensor,
        )

    def _groups(self, rows: int, inputs: int) -> int | None:
        """Heads of keys, if rows are (heads + 2 groups) head_dim with head_dim = inputs / heads."""
        if not inputs or inputs % self.heads:
            return None
        count, rest = divmod(rows, inputs // self.heads)
        groups, odd = divmod(count - self.heads, 2)
        fits = not rest and not odd and 0 < groups <= self.heads and self.heads % groups == 0
        return groups if fits else None

    def _width(self) -> int:
        """The width of what goes in; of a bias that of its weight."""
        if self.inputs:
            return self.inputs
        weight = self._partner()
        if weight is None or len(weight) != 2:
            return 0
        return weight[0] if weight[1] == self.rows and weight[0] != self.rows else weight[1]

    def _groups_here(self) -> int:
        found = self._groups(self.rows, self._width())
        given = self.kv_heads
        if given is not None:
            if found is not None and found != given:
                raise InputError(
                    f"has {self.rows} rows, of {self.heads} query heads and {found} of keys and "
                    f"values, given kv_heads {given}",
                    self.tensor,
                )
            return given
        if found is not None:
            return found
        if self._width() and self.rows != 3 * self._width():
            if self.rows % (3 * self.heads):
                raise InputError(
                    f"has {self.rows} rows, which {3 * self.heads} heads (query, key, value) do "
                    "not divide",
                    self.tensor,
                )
            if self._width() % self.heads == 0:
                raise InputError(
                    f"has {self.rows} rows for a width of {self._width()}, which leaves the heads "
                    "of keys and values open, give kv_heads (--kv-heads)",
                    self.tensor,
                )
        return self.heads

    def _concatenated(self) -> list[tuple[str, int]]:
        groups = self._groups_here()
        return [(QUERY, head) for head in range(self.heads)] + [
            (name, head) for name in (KEY, VALUE) for head in range(groups)
        ]

    def _interleaved(self) -> list[tuple[str, int]]:
        groups = self._groups_here()
        if groups == self.heads:
            return [(name, head) for head in range(groups) for name in (QUERY, KEY, VALUE)]
        if groups == 1:  # multi-query Falcon: all queries, then the one key and value
            return self._concatenated()
        raise InputError(
            f"is interleaved by head with {groups} heads of keys, in an order that the shapes do "
            "not tell; kv_heads must equal heads, or be 1",
            self.tensor,
        )

    def _heads_of_keys(self) -> int:
        """From the rows of the queries beside them."""
        query = self._query()
        given = self.kv_heads
        if query is None:
            return given or self.heads
        axis = 1 if self.columns and len(query) == 2 else 0
        width, rest = divmod(query[axis], self.heads)
        found, odd = divmod(self.rows, width) if width else (0, 1)
        if rest or odd or not found or self.heads % found or (given or found) != found:
            asked = f", given kv_heads {given}" if given else ""
            raise InputError(
                f"has {self.rows} rows beside {query[axis]} of {self.heads} query heads{asked}, "
                "which do not fit",
                self.tensor,
            )
        return found

    def _query(self) -> tuple[int, ...] | None:
        for kind in (KEY, VALUE):
            if self.module in _SEPARATE[kind]:
                alias = _SEPARATE[QUERY][_SEPARATE[kind].index(self.module)]
                return self._sibling(alias, self.words[-1])
        return None


def _split(
    tensor: str, shape: tuple[int, ...], order: list[tuple[str, int]], *, columns: bool
) -> list[Part]:
    """Equal runs of rows, or of columns, in this order of (projection, head)."""
    rows = shape[0]
    inner = prod(shape[1:])
    split = shape[1] if columns else rows
    if split % len(order):
        kind = "columns" if columns else "rows"
        names = "query, key, value" if len({name for name, _ in order}) > 1 else order[0][0]
        raise InputError(
            f"has {split} {kind}, which {len(order)} heads ({names}) do not divide", tensor
        )
    width = split // len(order) * (1 if columns else inner)
    period, count = (shape[1], rows) if columns else (rows * inner, 1)
    return [
        Part(tensor, i * width, width, period, count, projection, head)
        for i, (projection, head) in enumerate(order)
    ]
