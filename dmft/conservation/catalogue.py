"""Families of laws that several architectures share, made from the names of their parameters.

Each comes from an invariance of the network: a group that acts on the parameters without changing
the output. A symmetric generator s of a linear group, theta -> exp(t s) theta, gives the quadratic
law <theta, s theta>; a translation along a fixed direction gives a linear one (Noether).

A weight has the axes (output, input, ..); a neuron is an output of `inner`, an input of `outer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dmft.conservation.law import Law, squares, upper


def incoming(array: Any) -> Any:
    """One row for each output: all weights that lead to it."""
    return array.reshape(array.shape[0], -1)


def outgoing(array: Any) -> Any:
    """One row for each input: all weights that lead away from it."""
    return array.swapaxes(0, 1).reshape(array.shape[1], -1)


def balancedness(inner: str, outer: str, bias: str | None = None) -> Law:
    """W_in W_in^T + b b^T - W_out^T W_out, symmetric: a linear layer can change its basis."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        ingoing, out = incoming(p[inner]), outgoing(p[outer])
        matrix = ingoing @ ingoing.T - out @ out.T
        if bias:
            column = p[bias].reshape(-1, 1)
            matrix = matrix + column @ column.T
        return upper(matrix)

    plus = f" + {bias} {bias}^T" if bias else ""
    latex_plus = f" + {tex(bias)} {tex(bias)}^\\top" if bias else ""
    return Law(
        f"balance {inner}-{outer}",
        f"{inner} {inner}^T{plus} - {outer}^T {outer}",
        f"{tex(inner)} {tex(inner)}^\\top{latex_plus} - {tex(outer)}^\\top {tex(outer)}",
        evaluate,
    )


def neuron_balance(inner: str, outer: str, bias: str | None = None, degree: int = 1) -> Law:
    """|W_in[k]|^2 + b_k^2 - degree |W_out[:,k]|^2: a homogeneous neuron can be rescaled."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        value = squares(incoming(p[inner]), 1) - degree * squares(outgoing(p[outer]), 1)
        return value + p[bias] * p[bias] if bias else value

    times = f"{degree} " if degree > 1 else ""
    plus = f" + {bias}[k]^2" if bias else ""
    latex_plus = f" + ({tex(bias)})_k^2" if bias else ""
    return Law(
        f"neurons {inner}-{outer}",
        f"|{inner}[k,:]|^2{plus} - {times}|{outer}[:,k]|^2",
        f"\\|({tex(inner)})_{{k:}}\\|^2{latex_plus} - {times}\\|({tex(outer)})_{{:k}}\\|^2",
        evaluate,
    )


def neuron_sum(inner: str, outer: str, bias: str | None = None) -> Law:
    """sum W_in[k,:] + b_k - sum W_out[:,k]: rescaling under theta' = -theta * grad."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        value = incoming(p[inner]).sum(1) - outgoing(p[outer]).sum(1)
        return value + p[bias] if bias else value

    plus = f" + {bias}[k]" if bias else ""
    latex_plus = f" + ({tex(bias)})_k" if bias else ""
    return Law(
        f"neuron sums {inner}-{outer}",
        f"sum_j {inner}[k,j]{plus} - sum_j {outer}[j,k]",
        f"\\sum_j ({tex(inner)})_{{kj}}{latex_plus} - \\sum_j ({tex(outer)})_{{jk}}",
        evaluate,
        degree=1,
    )


def angular_momentum(inner: str, outer: str, bias: str | None = None) -> Law:
    """e^(rate t) <theta', A theta> for the rotations A of a linear hidden layer, with momentum."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        matrix = incoming(p[f"velocity.{inner}"]) @ incoming(p[inner]).T
        matrix = matrix - outgoing(p[outer]) @ outgoing(p[f"velocity.{outer}"]).T
        if bias:
            matrix = matrix + p[f"velocity.{bias}"].reshape(-1, 1) @ p[bias].reshape(1, -1)
        rows, columns = np.triu_indices(matrix.shape[-1], 1)
        return p["growth"] * (matrix - matrix.T)[rows.tolist(), columns.tolist()]

    plus = f" + {bias}' {bias}^T" if bias else ""
    latex_plus = f" + \\dot {tex(bias)} {tex(bias)}^\\top" if bias else ""
    return Law(
        f"angular momentum {inner}-{outer}",
        f"e^(rate t) (M - M^T), M = {inner}' {inner}^T{plus} - {outer}^T {outer}'",
        f"e^{{\\gamma t}} (M - M^\\top), M = \\dot {tex(inner)} {tex(inner)}^\\top{latex_plus}"
        f" - {tex(outer)}^\\top \\dot {tex(outer)}",
        evaluate,
        degree=None,
    )


def decayed(law: Law) -> Law:
    """A law of degree n under weight decay: e^(n rate t) h."""
    power = law.degree
    assert power is not None
    times = "" if power == 1 else f"{power} "
    return Law(
        law.name,
        f"e^({times}rate t) ({law.formula})",
        f"e^{{{times}\\lambda t}} ({law.latex})",
        lambda p: p["growth"] ** power * law.evaluate(p),
        degree=None,
    )


def gain_balance(gains: Sequence[str], consumers: Sequence[str]) -> Law:
    """sum of g_i^2 - |columns i of what reads them|^2: gains can be moved into the weights.

    Consumers have the axes (.., input).
    """

    def evaluate(p: Mapping[str, Any]) -> Any:
        read = sum(squares(p[name].reshape(-1, p[name].shape[-1]), 0) for name in consumers)
        return sum(p[name] * p[name] for name in gains) - read

    plus = " + ".join(f"{name}[i]^2" for name in gains)
    minus = " - ".join(f"|{name}[..,i]|^2" for name in consumers)
    latex_plus = " + ".join(f"({tex(name)})_i^2" for name in gains)
    latex_minus = " - ".join(f"\\|({tex(name)})_{{\\cdot i}}\\|^2" for name in consumers)
    return Law(f"gains {gains[0]}", f"{plus} - {minus}", f"{latex_plus} - {latex_minus}", evaluate)


def total_square(names: Sequence[str], label: str, against: Sequence[str] = ()) -> Law:
    """Sum of squares of several parameters, minus those of what their scale can be moved into."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        total = sum(squares(p[name]) for name in names)
        return total - sum(squares(p[name]) for name in against) if against else total

    plus = " + ".join(f"|{name}|^2" for name in names)
    latex = " + ".join(f"\\|{tex(name)}\\|^2" for name in names)
    return Law(
        label,
        plus + "".join(f" - |{name}|^2" for name in against),
        latex + "".join(f" - \\|{tex(name)}\\|^2" for name in against),
        evaluate,
    )


def output_sum(name: str) -> Law:
    """Sums over the first axis: a shift common to all outputs does not matter."""
    return Law(
        f"output sums {name}",
        f"sum_i {name}[i,..]",
        f"\\sum_i ({tex(name)})_{{i\\cdot}}",
        lambda p: p[name].sum(0).reshape(-1),
        degree=1,
    )


def stream_mean(name: str, axis: int) -> Law:
    """Sums over an output axis whose mean is never seen, for instance by a LayerNorm."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        return p[name].sum(axis).reshape(-1)

    return Law(
        f"stream mean {name}",
        f"sum of {name} over the stream",
        f"\\sum_i \\mathrm{{{name}}}_{{i\\cdot}}",
        evaluate,
        degree=1,
    )


def logit_shift(weight: str, bias: str | None = None) -> list[Law]:
    """Column sums of a last layer under cross-entropy, where logits have a common shift free."""
    return [output_sum(name) for name in (weight, bias) if name]


def unused(name: str, why: str) -> Law:
    """All entries of a parameter on which the loss does not depend."""
    return Law(
        f"frozen {name}", f"{name} ({why})", tex(name), lambda p: p[name].reshape(-1), degree=1
    )


def tex(name: str | None) -> str:
    """The name of a parameter in LaTeX: W1 gets its number as a subscript."""
    if name is None:
        return ""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    head = letters if len(letters) == 1 else "\\mathrm{" + letters.replace("_", "\\_") + "}"
    return f"{head}_{{{digits}}}" if digits else head
