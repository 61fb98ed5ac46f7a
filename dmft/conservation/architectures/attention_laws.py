"""The laws of an attention layer.

Queries and keys enter through products q k^T only, so that an invertible matrix can pass from one
to the other: any of the general linear group of a head, or of the part of it that commutes with
rotations. Its symmetric generators are the laws. The same holds for values and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.conservation.catalogue import incoming, tex, unused
from dmft.conservation.law import Law, squares, upper

if TYPE_CHECKING:
    from dmft.conservation.architectures.attention import Attention


class AttentionLaws:
    """Iterates over the laws of `layer`, whose parameters are named with a prefix."""

    def __init__(self, layer: Attention, prefix: str) -> None:
        self.layer = layer
        self.prefix = prefix

    def __iter__(self) -> Iterator[Law]:
        for g in range(self.layer.groups):
            if self.layer.qk_norm and self.layer.eps:
                pass  # eps gives queries and keys a scale
            elif self.layer.qk_norm:
                yield from self._norm_laws(g)
            else:
                yield from self._query_key_laws(g)
            yield self._value_output_law(g)
        if self.layer.qk_norm:
            yield self._gain_law()
        if self.layer.score in ("linear", "relu") and self.layer.position != "alibi":
            yield from self._scale_laws()
        shifts = self.layer.score == "softmax" and not self.layer.sink
        if self.layer.bias and shifts and not self.layer.qk_norm:
            yield from self._key_bias_laws()
        if self.layer.position == "t5" and shifts:
            name = f"{self.prefix}distance"
            yield Law(
                f"shift {name}",
                f"sum_j {name}[h,j]",
                f"\\sum_j ({tex(name)})_{{hj}}",
                lambda p: p[name].sum(-1),
                degree=1,
            )

    def _rows(self, p: Mapping[str, Any], name: str, h: int) -> list[Any]:
        """Matrices whose rows are the dimensions of head h: the weight, and its bias if any."""
        parts = [p[self.prefix + name][h]]
        if self.layer.bias:
            parts.append(p[f"{self.prefix}b{name}"][h].reshape(-1, 1))
        return parts

    def _gram(self, p: Mapping[str, Any], name: str, heads: list[int]) -> Any:
        return sum(part @ part.T for h in heads for part in self._rows(p, name, h))

    def _squares(self, name: str, h: int) -> list[str]:
        """The texts Q[0] Q[0]^T and, with a bias, bQ[0] bQ[0]^T."""
        names = [f"{self.prefix}{name}[{h}]"]
        if self.layer.bias:
            names.append(f"{self.prefix}b{name}[{h}]")
        return [f"{one} {one}^T" for one in names]

    def _latex(self, name: str, heads: list[int], sign: str) -> str:
        """The LaTeX of the same matrices, of several heads, each with a sign."""
        names = [name, f"b{name}"] if self.layer.bias else [name]
        symbols = [f"{tex(self.prefix + one)}_{{{h}}}" for h in heads for one in names]
        return "".join(f" {sign} {one} {one}^\\top" for one in symbols)

    def _query_key_laws(self, g: int) -> Iterator[Law]:
        """Q Q^T - K K^T, or the part of it that commutes with the rotations."""
        queries = [text for h in self.layer.members(g) for text in self._squares("Q", h)]
        formula = " - ".join([" + ".join(queries), *self._squares("K", g)])
        latex = self._latex("Q", self.layer.members(g), "+") + self._latex("K", [g], "-")
        latex = latex.removeprefix(" + ")
        difference = partial(self._query_key, g)
        name = f"query-key {self.prefix}{g}"
        if self.layer.position != "rotary":
            yield Law(name, formula, latex, lambda p: upper(difference(p)))
            return
        for label in sorted(set(self.layer.labels)):
            pairs = [
                pair
                for pair, own in zip(self.layer.planes(), self.layer.labels, strict=True)
                if own == label
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
                    f"D_{{{a}{a}}} + D_{{{b}{b}}}, D = {latex}",
                    partial(_hermitian, difference, first, second),
                )
            else:
                yield Law(
                    f"{name} frequency {label}",
                    f"Z Z^* - Y Y^*, real and imaginary parts, of the complex rows {pairs} of"
                    f" {formula}",
                    f"D_{{aa'}} + D_{{bb'}} + i (D_{{ba'}} - D_{{ab'}}), D = {latex}",
                    partial(_hermitian, difference, first, second),
                )

    def _query_key(self, g: int, p: Mapping[str, Any]) -> Any:
        queries = self._gram(p, "Q", self.layer.members(g))
        return queries - self._gram(p, "K", [g])

    def _norm_laws(self, g: int) -> Iterator[Law]:
        """Norms of what is normalised afterwards."""
        for name, heads in (("Q", self.layer.members(g)), ("K", [g])):
            for h in heads:
                bias = f" + |{self.prefix}b{name}[{h}]|^2" if self.layer.bias else ""
                yield Law(
                    f"norm {self.prefix}{name}[{h}]",
                    f"|{self.prefix}{name}[{h}]|^2{bias}",
                    f"\\|{tex(self.prefix + name)}_{{{h}}}\\|^2",
                    partial(self._norm, name, h),
                )

    def _norm(self, name: str, h: int, p: Mapping[str, Any]) -> Any:
        return sum(squares(part) for part in self._rows(p, name, h))

    def _gain_law(self) -> Law:
        """Gains of queries against those of keys, per dimension or per plane."""
        q, k = f"{self.prefix}gQ", f"{self.prefix}gK"

        def evaluate(p: Mapping[str, Any]) -> Any:
            value = p[q] * p[q] - p[k] * p[k]
            if self.layer.position != "rotary":
                return value
            a, b = [list(side) for side in zip(*self.layer.planes(), strict=True)]
            return value[a] + value[b]

        over = "sum over a plane of " if self.layer.position == "rotary" else ""
        return Law(f"gains {q}-{k}", f"{over}{q}[i]^2 - {k}[i]^2",
                   f"{tex(q)}^2 - {tex(k)}^2", evaluate)  # fmt: skip

    def _scale_laws(self) -> Iterator[Law]:
        """Homogeneous scores can be scaled against the output.

        That holds for each head; with linear scores, heads that share keys can even be mixed.
        """
        if self.layer.qk_norm:
            if self.layer.position == "none" or self.layer.position == "rotary":
                gain, output = f"{self.prefix}gQ", f"{self.prefix}O"
                yield Law(
                    f"scale {gain}-{output}",
                    f"|{gain}|^2 - |{output}|^2",
                    f"\\|{tex(gain)}\\|^2 - \\|{tex(output)}\\|^2",
                    lambda p: squares(p[gain]) - squares(p[output]),
                )
            return
        names = ["Q"] + (["bQ"] if self.layer.bias else [])
        names += ["distance"] if self.layer.position == "t5" else []
        plus = " + ".join(f"<{self.prefix}{name}[h], {self.prefix}{name}[k]>" for name in names)
        latex = " + ".join(f"\\langle {tex(name)}_h, {tex(name)}_k\\rangle" for name in names)
        for g in range(self.layer.groups):
            members = self.layer.members(g)

            def evaluate(p: Mapping[str, Any], members: list[int] = members) -> Any:
                output = incoming(p[f"{self.prefix}O"])[members]
                matrix = -(output @ output.T)
                for name in names:
                    rows = incoming(p[self.prefix + name])[members]
                    matrix = matrix + rows @ rows.T
                if self.layer.score == "linear":
                    return upper(matrix)
                return matrix[list(range(len(members))), list(range(len(members)))]

            heads = "heads h, k" if self.layer.score == "linear" else "heads h = k"
            yield Law(
                f"scale {self.prefix}Q-{self.prefix}O {g}",
                f"{plus} - <{self.prefix}O[h], {self.prefix}O[k]>, {heads} of group {g}",
                f"{latex} - \\langle O_h, O_k\\rangle",
                evaluate,
            )

    def _key_bias_laws(self) -> Iterator[Law]:
        """A key bias shifts all logits of a query alike, unless a rotation makes it differ."""
        name = f"{self.prefix}bK"
        if self.layer.position != "rotary":
            yield unused(name, "shifts all logits of a query alike")
            return
        pairs = zip(self.layer.planes(), self.layer.labels, strict=True)
        still = [i for pair, label in pairs if label == 0 for i in pair]
        if still:
            yield Law(
                f"frozen {name}",
                f"{name}[.., {still}] (shifts all logits of a query alike)",
                tex(name),
                lambda p: p[name][:, still].reshape(-1),
                degree=1,
            )

    def _value_output_law(self, g: int) -> Law:
        name = f"{self.prefix}O"
        members = self.layer.members(g)

        def evaluate(p: Mapping[str, Any]) -> Any:
            output = sum(p[name][h].T @ p[name][h] for h in members)
            return upper(self._gram(p, "V", [g]) - output)

        minus = "".join(f" - {name}[{h}]^T {name}[{h}]" for h in members)
        return Law(
            f"value-output {self.prefix}{g}",
            " + ".join(self._squares("V", g)) + minus,
            self._latex("V", [g], "+").removeprefix(" + ")
            + "".join(f" - {tex(name)}_{{{h}}}^\\top {tex(name)}_{{{h}}}" for h in members),
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
