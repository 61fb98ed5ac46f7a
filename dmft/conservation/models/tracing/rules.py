"""How scales pass through the operations that compute; `moving` has those that only move entries.

A rule takes the walk and a node and returns the scales of its outputs. An operation without a rule
fixes all its inputs: whatever it computes is then left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Protocol

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

    def contract(self, scale: Scale, axes: Sequence[int]) -> Scale:
        """Sum over axes, with the freedom that parameters have twice."""


Rule = Callable[[Walk, Node], "Scale | list[Scale] | None"]
RULES: dict[str, Rule] = {}
_HALF = Fraction(1, 2)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def wrapped(axes: Any, rank: int) -> list[int]:
    """Axes as non-negative numbers; None or empty: all."""
    if axes is None or axes == []:
        return list(range(rank))
    return [a % max(rank, 1) for a in (axes if isinstance(axes, list) else [axes])]


def _out(node: Node) -> tuple[int, ...]:
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
        return Scale(_out(node))
    return _sum(walk, node)


@rule("add", "sub", "rsub")
def _sum(walk: Walk, node: Node) -> Scale:
    first, second = (walk.of(x).broadcast(_out(node)) for x in node.arguments[:2])
    numbers = [x for x in node.arguments[:2] if not isinstance(x, Value)]
    if numbers and (numbers[0] == 0 or (walk.ignore_eps and 0 < numbers[0] <= 1e-3)):
        return first if isinstance(node.arguments[0], Value) else second
    scales.require_equal(walk.unknowns, first, second)
    return first


@rule("where")
def _where(walk: Walk, node: Node) -> Scale:
    fix(walk, node.arguments[:1])
    for x in node.inputs:
        scales.separate(walk.unknowns, walk.of(x))
    first, second = (walk.of(x).broadcast(_out(node)) for x in node.arguments[1:3])
    scales.require_equal(walk.unknowns, first, second)
    return first


@rule("lerp")
def _lerp(walk: Walk, node: Node) -> Scale:
    weight = walk.of(node.arguments[2]).broadcast(_out(node))
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
    return _factor(walk, a, b, _out(node)).plus(_factor(walk, b, a, _out(node)))


@rule("div")
def _quotient(walk: Walk, node: Node) -> Scale:
    a, b = node.arguments[:2]
    if len(node.arguments) > 2 and node.arguments[2] is not None:  # rounded
        fix(walk, [a, b])
        return Scale(_out(node))
    scales.separate(walk.unknowns, walk.of(b))
    return _factor(walk, a, b, _out(node)).plus(_factor(walk, b, a, _out(node)).times(-1))


@rule("addcmul", "addcdiv")
def _add_product(walk: Walk, node: Node) -> Scale:
    a, b, c = node.arguments[:3]
    sign = 1 if node.op == "addcmul" else -1
    second = _factor(walk, b, c, _out(node)).plus(_factor(walk, c, b, _out(node)).times(sign))
    first = walk.of(a).broadcast(_out(node))
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


@rule("clamp_min", "clamp", "threshold", "clamp_max")
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
    return Scale(_out(node))


@rule("pow", "square", "sqrt", "rsqrt", "reciprocal", "sgn", "sign")
def _power(walk: Walk, node: Node) -> Scale:
    known = {"square": 2, "sqrt": _HALF, "rsqrt": -_HALF, "reciprocal": -1, "sgn": 0, "sign": 0}
    x = node.arguments[0]
    power = known.get(node.op)
    if power is None:
        power = node.arguments[1]
        if isinstance(power, Value) or not isinstance(x, Value):
            fix(walk, node.inputs)
            return Scale(_out(node))
        power = Fraction(power).limit_denominator(1000)
    scale = walk.of(x)
    scales.separate(walk.unknowns, scale)
    return scale.times(Fraction(power)) if power else Scale(_out(node))


@rule("gt", "lt", "ge", "le", "eq", "ne")
def _comparison(walk: Walk, node: Node) -> Scale:
    """Of two that are scaled alike, or with zero."""
    a, b = (walk.of(x).broadcast(_out(node)) for x in node.arguments[:2])
    if isinstance(node.arguments[1], Value) or node.arguments[1] != 0:
        scales.require_equal(walk.unknowns, a, b)
    scales.separate(walk.unknowns, a)
    scales.separate(walk.unknowns, b)
    return Scale(_out(node))


@rule("masked_fill")
def _masked(walk: Walk, node: Node) -> Scale:
    value = node.arguments[2]
    scale = walk.of(node.arguments[0]).broadcast(_out(node))
    if isinstance(value, Value):
        scales.require_equal(walk.unknowns, scale, walk.of(value).broadcast(_out(node)))
    elif value not in (0, float("inf"), -float("inf")):
        scales.require_none(walk.unknowns, scale)
    scales.separate(walk.unknowns, scale)
    return scale


@rule("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros",
      "new_ones", "new_empty", "new_full", "bernoulli", "new_empty_strided", "zeros")  # fmt: skip
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
    keep = len(_out(node)) == rank and rank > 0
    return _reduced(walk, node, over, keep, node.op not in ("sum", "mean")).times(extra) if (
        isinstance(x, Value)) else None  # fmt: skip


@rule("max", "min", "topk", "sort", "var_mean", "std_mean", "median", "kthvalue", "cummax")
def _with_places(walk: Walk, node: Node) -> list[Scale] | None:
    x = node.arguments[0]
    rank = len(x.shape)
    if node.op in ("var_mean", "std_mean"):
        axes = node.arguments[1] if isinstance(node.arguments[1], (list, int)) else None
        axes = None if isinstance(axes, bool) else axes
        keep = len(_out(node)) == rank
        scale = _reduced(walk, node, wrapped(axes, rank), keep, True)
        return [scale.times(2 if node.op == "var_mean" else 1), scale]
    if node.op in ("topk", "sort", "cummax"):
        axis = node.arguments[2 if node.op == "topk" else 1]
        axis = -1 if axis is None else axis
        scale = _reduced(walk, node, wrapped(axis, rank), True, True)
        first = _out(node)
        scale = scale.broadcast(first)
        return [scale] + [Scale(v.shape) for v in node.outputs[1:]]
    if len(node.outputs) == 1:
        if len(node.arguments) > 1 and isinstance(node.arguments[1], Value):
            return [_sum(walk, node)]
        return [_reduced(walk, node, list(range(rank)), False, True)]
    axis = node.arguments[2 if node.op == "kthvalue" else 1]
    keep = len(_out(node)) == rank
    scale = _reduced(walk, node, wrapped(axis, rank), keep, True)
    return [scale] + [Scale(v.shape) for v in node.outputs[1:]]


@rule("argmax", "argmin", "argsort", "bucketize")
def _places(walk: Walk, node: Node) -> list[Scale]:
    x = node.arguments[0]
    axis = node.arguments[1]
    _reduced(walk, node, wrapped(axis if isinstance(axis, int) else None, len(x.shape)), True, True)
    return zeros(node)


@rule("cumsum")
def _cumulative(walk: Walk, node: Node) -> Scale:
    axes = wrapped(node.arguments[1], len(_out(node)))
    return walk.contract(walk.of(node.arguments[0]), axes).broadcast(_out(node))


# --- matrix products and convolutions


def _matrix(walk: Walk, a: Any, b: Any, batch: bool) -> Scale:
    """(b,) i k times (b,) k j."""
    first, second = walk.of(a), walk.of(b)
    n = int(batch)
    if batch:
        for scale in (first, second):
            for term in scale.terms:
                if 0 in term.axes:
                    places = scales._coordinates(term.axes, (0,), term.ids.shape)
                    walk.unknowns.mark(term.ids, places)
    shape = (*a.shape[: n + 2], b.shape[-1])
    left = first.relabel(shape, lambda axis: axis)
    right = second.relabel(shape, lambda axis: axis if axis < n else axis + 1)
    total = walk.contract(left.plus(right), [n + 1])
    out = (*a.shape[: n + 1], b.shape[-1])
    return total.relabel(out, lambda axis: axis if axis <= n else n + 1 if axis == n + 2 else None)


@rule("mm", "bmm")
def _mm(walk: Walk, node: Node) -> Scale:
    return _matrix(walk, *node.arguments[:2], node.op == "bmm")


@rule("addmm", "baddbmm")
def _addmm(walk: Walk, node: Node) -> Scale:
    bias, a, b = node.arguments[:3]
    product = _matrix(walk, a, b, node.op == "baddbmm")
    beta = node.arguments[3] if len(node.arguments) > 3 else 1
    if beta == 0:
        return product
    scales.require_equal(walk.unknowns, product, walk.of(bias).broadcast(product.shape))
    return product


@rule("mv", "dot", "vdot", "addmv")
def _mv(walk: Walk, node: Node) -> Scale | None:
    if node.op == "addmv":
        return None
    a, b = node.arguments[:2]
    if len(a.shape) == 1:
        scale = walk.contract(walk.of(a).plus(walk.of(b)), [0])
        return scale.relabel((), lambda _: None)
    right = walk.of(b).relabel(a.shape, lambda axis: axis + 1)
    scale = walk.contract(walk.of(a).plus(right), [1])
    return scale.relabel(_out(node), lambda axis: axis if axis == 0 else None)


@rule("convolution")
def _convolution(walk: Walk, node: Node) -> Scale:
    x, weight, bias = node.arguments[:3]
    transposed, count = node.arguments[6], node.arguments[8]
    unknowns = walk.unknowns
    places = range(2, len(x.shape))
    channels, rows = x.shape[1] // count, weight.shape[0] // (1 if transposed else count)
    inner = walk.contract(walk.of(x), [*places]).relabel(
        (x.shape[0], x.shape[1]), lambda a: a if a < 2 else None
    )
    inner = scales.reshape(unknowns, inner, (x.shape[0], count, channels))
    kernel = walk.contract(walk.of(weight), [*range(2, len(weight.shape))]).relabel(
        weight.shape[:2], lambda a: a if a < 2 else None
    )
    if transposed:  # (groups * inputs, outputs)
        kernel = scales.reshape(unknowns, kernel, (count, channels, weight.shape[1]))
        outputs = weight.shape[1]
        axes = {0: 1, 1: 2, 2: 3}
    else:
        kernel = scales.reshape(unknowns, kernel, (count, rows, channels))
        outputs = rows
        axes = {0: 1, 1: 3, 2: 2}
    shape = (x.shape[0], count, channels, outputs)
    total = inner.relabel(shape, lambda a: a).plus(kernel.relabel(shape, axes.get))
    total = walk.contract(total, [2]).relabel(
        (x.shape[0], count, outputs), lambda a: a if a < 2 else 2 if a == 3 else None
    )
    total = scales.reshape(unknowns, total, (x.shape[0], count * outputs))
    full = total.relabel(_out(node), lambda a: a)
    if isinstance(bias, Value):
        by_channel = walk.of(bias).relabel(_out(node), lambda a: a + 1)
        scales.require_equal(unknowns, full, by_channel)
    return full


@rule("embedding")
def _embedding(walk: Walk, node: Node) -> Scale:
    weight, index, padding = node.arguments[:3]
    rows = walk.contract(walk.of(weight), [0])
    if padding is not None and padding >= 0:  # its gradient is left out: a constant
        scales.require_none(walk.unknowns, walk.of(weight))
        return Scale(_out(node))
    rank = len(index.shape)
    return rows.relabel(_out(node), lambda a: a - 1 + rank if a else None)


# --- pooling: alike over places


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d", "avg_pool1d",
      "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
      "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d", "upsample_nearest2d",
      "upsample_nearest3d", "upsample_bilinear2d", "upsample_linear1d", "upsample_bicubic2d",
      "_upsample_bilinear2d_aa", "upsample_trilinear3d", "_upsample_nearest_exact2d",
      "adaptive_avg_pool1d", "mkldnn_max_pool2d")  # fmt: skip
def _pool(walk: Walk, node: Node) -> list[Scale]:
    x = node.arguments[0]
    dims = 1 if "1d" in node.op else 3 if "3d" in node.op else 2
    axes = list(range(len(x.shape) - dims, len(x.shape)))
    scale = walk.of(x)
    if "max" in node.op:
        scales.separate(walk.unknowns, scale)
    scale = walk.contract(scale, axes).broadcast(_out(node))
    return [Scale(v.shape, scale.terms if n == 0 else ()) for n, v in enumerate(node.outputs)]


# --- norms


def _affine(walk: Walk, scale: Scale, weight: Any, bias: Any, axes: Sequence[int]) -> Scale:
    """Times a gain, plus a bias, both on the given axes."""
    shape = scale.shape
    if isinstance(weight, Value):
        gain = walk.of(weight).relabel(shape, lambda a: axes[a])
        scales.separate(walk.unknowns, scale, axes)
        scales.separate(walk.unknowns, gain)
        scale = scale.plus(gain)
    if isinstance(bias, Value):
        scales.require_equal(walk.unknowns, scale, walk.of(bias).relabel(shape, lambda a: axes[a]))
    return scale


def _normalised(walk: Walk, scale: Scale, over: Sequence[int], eps: float) -> None:
    if eps and not walk.ignore_eps:
        scales.require_none(walk.unknowns, scale)
    else:
        scales.separate(walk.unknowns, scale)
        walk.contract(scale, over)


@rule("native_layer_norm")
def _layer_norm(walk: Walk, node: Node) -> list[Scale]:
    x, shape, weight, bias, eps = node.arguments[:5]
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    _normalised(walk, walk.of(x), axes, eps)
    first = _affine(walk, Scale(x.shape), weight, bias, axes)
    return [first] + [Scale(v.shape) for v in node.outputs[1:]]


@rule("_fused_rms_norm", "rms_norm")
def _rms_norm(walk: Walk, node: Node) -> list[Scale]:
    x, shape, weight, eps = node.arguments[:4]
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    _normalised(walk, walk.of(x), axes, 1.0 if eps is None else eps)
    first = _affine(walk, Scale(x.shape), weight, None, axes)
    return [first] + [Scale(v.shape) for v in node.outputs[1:]]


@rule("native_group_norm")
def _group_norm(walk: Walk, node: Node) -> list[Scale]:
    x, weight, bias, _, channels, _, count, eps = node.arguments[:8]
    scale = walk.of(x)
    split = scales.reshape(walk.unknowns, scale, (x.shape[0], count, channels // count,
                                                  *x.shape[2:]))  # fmt: skip
    _normalised(walk, split, range(2, len(split.shape)), eps)
    first = _affine(walk, Scale(x.shape), weight, bias, [1])
    return [first] + [Scale(v.shape) for v in node.outputs[1:]]


@rule("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
      "_native_batch_norm_legit_no_training", "_batch_norm_impl_index")  # fmt: skip
def _batch_norm(walk: Walk, node: Node) -> list[Scale]:
    x, weight, bias = node.arguments[:3]
    training, eps = batch_settings(node)
    others = [a for a in range(len(x.shape)) if a != 1]
    scale = walk.of(x)
    if training:
        _normalised(walk, scale, others, eps)
    else:
        scales.require_none(walk.unknowns, scale)
    first = _affine(walk, Scale(x.shape), weight, bias, [1])
    return [first] + [Scale(v.shape) for v in node.outputs[1:]]


def batch_settings(node: Node) -> tuple[bool, float]:
    """Whether the statistics are those of the batch, and the eps."""
    rest = node.arguments[3:]
    if node.op.endswith("no_training"):
        return False, float(rest[-1])
    flags = [x for x in rest if isinstance(x, bool)]
    numbers = [x for x in rest if isinstance(x, float)]
    return (flags[0] if flags else False), (numbers[-1] if numbers else 1.0)


@rule("_weight_norm_interface")
def _weight_norm(walk: Walk, node: Node) -> list[Scale]:
    """The gain times the direction, which has lost the scale of its rows."""
    v, gain, axis = node.arguments[:3]
    scale = walk.of(v)
    scales.separate(walk.unknowns, scale)
    over = [a for a in range(len(v.shape)) if a != axis % len(v.shape)]
    length = walk.contract(scale, over)
    out = scale.plus(length.broadcast(v.shape).times(-1)).plus(walk.of(gain).broadcast(v.shape))
    return [out] + [Scale(x.shape, length.terms) if x.shape == length.shape else Scale(x.shape)
                    for x in node.outputs[1:]]  # fmt: skip


# --- what is known to leave no scale free


FIXING = frozenset((
    "gelu", "silu", "tanh", "sigmoid", "softplus", "elu", "celu", "selu", "mish", "hardswish",
    "hardtanh", "hardsigmoid", "relu6", "softsign", "log_sigmoid", "log_sigmoid_forward",
    "_softmax", "_log_softmax", "softmax", "log_softmax", "exp", "log", "sin", "cos", "erf", "exp2",
    "log1p", "expm1", "logsumexp", "hardshrink", "softshrink", "tan", "atan", "sinh", "cosh",
    "log2", "glu", "_safe_softmax", "arbitrary", "logaddexp", "special_erf", "sinc", "atan2",
    "isnan", "isinf", "logical_not", "logical_and", "logical_or", "bitwise_not", "bitwise_and",
    "floor", "ceil", "round", "_cdist_forward", "nll_loss_forward", "mse_loss", "one_hot",
    "polar", "complex", "remainder", "fmod", "histc", "any", "all", "isfinite", "frac", "trunc",
))  # fmt: skip
