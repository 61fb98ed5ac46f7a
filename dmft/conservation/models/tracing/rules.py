"""How scales pass through the operations that compute; `moving` has those that only move entries.

A rule takes the walk and a node and returns the scales of its outputs. An operation without a rule
fixes all its inputs: whatever it computes is then left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from dmft.conservation.models.tracing import scales
from dmft.conservation.models.tracing.recording import Node, Value
from dmft.conservation.models.tracing.scales import Scale
from dmft.conservation.models.tracing.unknowns import Unknowns


class Walk(Protocol):
    """What a rule sees."""

    unknowns: Unknowns
    ignore_eps: bool

    def of(self, value: Any) -> Scale:
        """The scale of a value; of a number or a constant, none."""

    def loose(self, value: Any) -> bool:
        """Whether the scale of a value comes from that of zeros."""

    def contract(self, scale: Scale, axes: Sequence[int]) -> Scale:
        """Sum over axes, with the freedom that parameters have twice."""


Rule = Callable[[Walk, Node], "Scale | list[Scale] | None"]
RULES: dict[str, Rule] = {}
_HALF = Fraction(1, 2)
# Both operands have the scale of the result, so that the one of zeros may be left.
SUMS = frozenset(("add", "sub", "rsub", "addmm", "baddbmm"))


Known = TypeVar("Known", bound=Rule)


def rule(*names: str) -> Callable[[Known], Known]:
    """Register a rule for operations."""

    def register(function: Known) -> Known:
        for name in names:
            RULES[name] = function
        return function

    return register


def wrapped(axes: Any, rank: int) -> list[int]:
    """Axes as non-negative numbers; None or empty: all."""
    if axes is None or axes == []:
        return list(range(rank))
    return [a % max(rank, 1) for a in (axes if isinstance(axes, list) else [axes])]


def shape_of(node: Node) -> tuple[int, ...]:
    """Of the first output."""
    return node.outputs[0].shape


def fix(walk: Walk, values: Sequence[Any]) -> None:
    """Let none of these be scaled."""
    for value in values:
        scales.require_none(walk.unknowns, walk.of(value))


def zeros(node: Node) -> list[Scale]:
    """Outputs that are not scaled."""
    return [Scale(value.shape) for value in node.outputs]


@rule("maximum", "minimum")
def _larger(walk: Walk, node: Node) -> Scale:
    for x in node.inputs:
        scales.separate(walk.unknowns, walk.of(x))
    if any(not isinstance(x, Value) for x in node.arguments[:2]):
        fix(walk, node.inputs)
        return Scale(shape_of(node))
    return _sum(walk, node)


@rule("add", "sub", "rsub")
def _sum(walk: Walk, node: Node) -> Scale:
    first, second = (walk.of(x).broadcast(shape_of(node)) for x in node.arguments[:2])
    numbers = [x for x in node.arguments[:2] if not isinstance(x, Value)]
    if numbers and (numbers[0] == 0 or (walk.ignore_eps and 0 < numbers[0] <= 1e-3)):
        return first if isinstance(node.arguments[0], Value) else second
    scales.require_equal(walk.unknowns, first, second)
    return second if walk.loose(node.arguments[0]) else first


@rule("copy")
def _overwritten(walk: Walk, node: Node) -> Scale:
    """What was there before is gone."""
    return walk.of(node.arguments[1]).broadcast(shape_of(node))


@rule("where")
def _where(walk: Walk, node: Node) -> Scale:
    for x in node.inputs:
        scales.separate(walk.unknowns, walk.of(x))
    first, second = (walk.of(x).broadcast(shape_of(node)) for x in node.arguments[1:3])
    scales.require_equal(walk.unknowns, first, second)
    return first


@rule("lerp")
def _lerp(walk: Walk, node: Node) -> Scale:
    weight = walk.of(node.arguments[2]).broadcast(shape_of(node))
    scales.require_none(walk.unknowns, weight)
    for x in node.inputs:
        scales.separate(walk.unknowns, walk.of(x))
    return _sum(walk, node)


def _factor(walk: Walk, x: Any, other: Any, shape: tuple[int, ...]) -> Scale:
    """A factor; another that varies along its axes tells the unknowns apart."""
    scale = walk.of(x).broadcast(shape)
    if isinstance(other, Value):
        shift = len(shape) - len(other.shape)
        varying = [a + shift for a, n in enumerate(other.shape) if n != 1]
        if varying:
            scales.separate(walk.unknowns, scale, varying)
    return scale


@rule("mul")
def _product(walk: Walk, node: Node) -> Scale:
    a, b = node.arguments[:2]
    return _factor(walk, a, b, shape_of(node)).plus(_factor(walk, b, a, shape_of(node)))


@rule("div")
def _quotient(walk: Walk, node: Node) -> Scale:
    a, b = node.arguments[:2]
    if len(node.arguments) > 2 and node.arguments[2] is not None:  # rounded
        fix(walk, [a, b])
        return Scale(shape_of(node))
    scales.separate(walk.unknowns, walk.of(b))
    return _factor(walk, a, b, shape_of(node)).plus(_factor(walk, b, a, shape_of(node)).times(-1))


@rule("addcmul", "addcdiv")
def _add_product(walk: Walk, node: Node) -> Scale:
    a, b, c = node.arguments[:3]
    sign = 1 if node.op == "addcmul" else -1
    second = _factor(walk, b, c, shape_of(node)).plus(
        _factor(walk, c, b, shape_of(node)).times(sign)
    )
    first = walk.of(a).broadcast(shape_of(node))
    for x in node.inputs:
        scales.separate(walk.unknowns, walk.of(x))
    scales.require_equal(walk.unknowns, first, second)
    return first


@rule("neg", "alias", "clone", "_to_copy", "contiguous", "to", "positive", "view_as", "lift_fresh",
      "dropout", "native_dropout", "feature_dropout", "alpha_dropout_", "_conj", "resolve_conj",
      "nan_to_num_", "real")  # fmt: skip
def _same(walk: Walk, node: Node) -> list[Scale]:
    scale = walk.of(node.arguments[0])
    if "dropout" in node.op:
        scales.separate(walk.unknowns, scale)
    return [Scale(v.shape, scale.terms if n == 0 else ()) for n, v in enumerate(node.outputs)]


@rule("relu", "leaky_relu", "rrelu", "rrelu_with_noise", "abs", "rrelu_with_noise_functional")
def _homogeneous(walk: Walk, node: Node) -> list[Scale]:
    scale = walk.of(node.arguments[0])
    scales.separate(walk.unknowns, scale)
    return [Scale(v.shape, scale.terms if n == 0 else ()) for n, v in enumerate(node.outputs)]


@rule("_prelu_kernel", "prelu")
def _prelu(walk: Walk, node: Node) -> list[Scale]:
    fix(walk, node.arguments[1:2])
    return _homogeneous(walk, node)


@rule("hardshrink")
def _cut(walk: Walk, node: Node) -> Scale:
    """x or zero, by where x is."""
    return _homogeneous(walk, node)[0]


@rule("threshold")
def _threshold(walk: Walk, node: Node) -> Scale:
    """x, or a value where x is small."""
    if node.arguments[2] == 0:
        return _homogeneous(walk, node)[0]
    fix(walk, node.inputs)
    return Scale(shape_of(node))


@rule("clamp_min", "clamp", "clamp_max")
def _clamp(walk: Walk, node: Node) -> Scale:
    """max(x, 0) and min(x, 0) only."""
    bounds = [x for x in node.arguments[1:] if x is not None]
    if all(not isinstance(x, Value) and x == 0 for x in bounds):
        return _homogeneous(walk, node)[0]
    if walk.ignore_eps and bounds and all(
        not isinstance(x, Value) and 0 < x <= 1e-3 for x in bounds
    ):  # fmt: skip
        return walk.of(node.arguments[0])
    fix(walk, node.inputs)
    return Scale(shape_of(node))


@rule("pow", "square", "sqrt", "rsqrt", "reciprocal")
def _power(walk: Walk, node: Node) -> Scale:
    known: dict[str, Fraction | int] = {
        "square": 2,
        "sqrt": _HALF,
        "rsqrt": -_HALF,
        "reciprocal": -1,
    }
    x = node.arguments[0]
    power = known.get(node.op)
    if power is None:
        power = node.arguments[1]
        if isinstance(power, Value) or not isinstance(x, Value):
            fix(walk, node.inputs)
            return Scale(shape_of(node))
        power = Fraction(power).limit_denominator(1000)
    scale = walk.of(x)
    scales.separate(walk.unknowns, scale)
    return scale.times(Fraction(power)) if power else Scale(shape_of(node))


@rule("floor", "ceil", "round", "trunc", "sgn", "sign", "heaviside")
def _steps(walk: Walk, node: Node) -> list[Scale]:
    """Constant but for jumps, so that no gradient passes: like a detached tensor."""
    return zeros(node)


@rule("masked_fill")
def _masked(walk: Walk, node: Node) -> Scale:
    value = node.arguments[2]
    scale = walk.of(node.arguments[0]).broadcast(shape_of(node))
    if isinstance(value, Value):
        scales.require_equal(walk.unknowns, scale, walk.of(value).broadcast(shape_of(node)))
    elif value not in (0, float("inf"), -float("inf")):
        scales.require_none(walk.unknowns, scale)
    scales.separate(walk.unknowns, scale)
    return scale


@rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros",
      "new_ones", "new_empty", "new_full", "bernoulli", "new_empty_strided", "zeros",
      "fill", "zero")  # fmt: skip
def _constants(walk: Walk, node: Node) -> list[Scale]:
    return zeros(node)


# --- sums


def _reduced(walk: Walk, node: Node, axes: list[int], keep: bool, apart: bool) -> Scale:
    scale = walk.of(node.arguments[0])
    if apart:
        scales.separate(walk.unknowns, scale)
    scale = walk.contract(scale, axes)
    if keep:
        return scale
    left = [a for a in range(len(scale.shape)) if a not in axes]
    places = {a: n for n, a in enumerate(left)}
    return scale.relabel(tuple(scale.shape[a] for a in left), places.get)


@rule("sum", "mean", "amax", "amin", "linalg_vector_norm", "norm", "std", "var")
def _reduce(walk: Walk, node: Node) -> Scale | None:
    x, rank = node.arguments[0], len(node.arguments[0].shape)
    extra = 1
    axes = None
    if node.op in ("linalg_vector_norm", "norm"):
        axes = node.arguments[2] if len(node.arguments) > 2 else None
        if node.arguments[1] in (0, None) and node.op != "norm":
            return None
    elif len(node.arguments) > 1 and isinstance(node.arguments[1], (int, list)):
        axes = None if isinstance(node.arguments[1], bool) else node.arguments[1]
    if node.op == "var":
        extra = 2
    over = wrapped(axes, rank)
    keep = len(shape_of(node)) == rank and rank > 0
    return _reduced(walk, node, over, keep, node.op not in ("sum", "mean")).times(extra) if (
        isinstance(x, Value)) else None  # fmt: skip


@rule("max", "min", "topk", "sort", "var_mean", "std_mean", "median", "kthvalue", "cummax")
def _with_places(walk: Walk, node: Node) -> list[Scale] | None:
    x = node.arguments[0]
    rank = len(x.shape)
    if node.op in ("var_mean", "std_mean"):
        axes = node.arguments[1] if isinstance(node.arguments[1], (list, int)) else None
        axes = None if isinstance(axes, bool) else axes
        keep = len(shape_of(node)) == rank
        scale = _reduced(walk, node, wrapped(axes, rank), keep, True)
        return [scale.times(2 if node.op == "var_mean" else 1), scale]
    if node.op in ("topk", "sort", "cummax"):
        axis = node.arguments[2 if node.op == "topk" else 1]
        axis = -1 if axis is None else axis
        scale = _reduced(walk, node, wrapped(axis, rank), True, True)
        first = shape_of(node)
        scale = scale.broadcast(first)
        return [scale] + [Scale(v.shape) for v in node.outputs[1:]]
    if len(node.outputs) == 1:
        if len(node.arguments) > 1 and isinstance(node.arguments[1], Value):
            return [_sum(walk, node)]
        return [_reduced(walk, node, list(range(rank)), False, True)]
    axis = node.arguments[2 if node.op == "kthvalue" else 1]
    keep = len(shape_of(node)) == rank
    scale = _reduced(walk, node, wrapped(axis, rank), keep, True)
    return [scale] + [Scale(v.shape) for v in node.outputs[1:]]


@rule("cumsum")
def _cumulative(walk: Walk, node: Node) -> Scale:
    axes = wrapped(node.arguments[1], len(shape_of(node)))
    return walk.contract(walk.of(node.arguments[0]), axes).broadcast(shape_of(node))


# --- what is known to leave no scale free


FIXING = frozenset((
    "gelu", "silu", "tanh", "sigmoid", "softplus", "elu", "celu", "selu", "mish", "hardswish",
    "hardtanh", "hardsigmoid", "relu6", "softsign", "log_sigmoid", "log_sigmoid_forward",
    "_softmax", "_log_softmax", "softmax", "log_softmax", "exp", "log", "sin", "cos", "erf", "exp2",
    "log1p", "expm1", "logsumexp", "softshrink", "tan", "atan", "sinh", "cosh",
    "log2", "_safe_softmax", "arbitrary", "logaddexp", "special_erf", "sinc", "atan2",
    "_cdist_forward", "nll_loss_forward", "mse_loss", "one_hot",
    "polar", "complex", "remainder", "fmod", "histc", "frac",
))  # fmt: skip
