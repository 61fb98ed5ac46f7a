"""How scales pass through matrix products, convolutions, pooling and norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dmft.conservation.models.tracing import scales
from dmft.conservation.models.tracing.recording import Node, Value
from dmft.conservation.models.tracing.rules import RULES, Walk, rule, shape_of
from dmft.conservation.models.tracing.scales import Scale

__all__ = ["RULES", "batch_settings"]


# --- matrix products and convolutions


def _tell_apart(walk: Walk, scale: Scale, axis: int) -> None:
    """Each place on an axis has a matrix of its own."""
    for term in scale.terms:
        if axis in term.axes:
            places = scales.coordinates(term.axes, (axis,), term.ids.shape)
            walk.unknowns.mark(term.ids, places)


def _matrix(walk: Walk, a: Any, b: Any, batch: bool) -> Scale:
    """(b,) i k times (b,) k j."""
    first, second = walk.of(a), walk.of(b)
    n = int(batch)
    if batch:
        for scale in (first, second):
            _tell_apart(walk, scale, 0)
    shape = (*a.shape[: n + 2], b.shape[-1])
    left = first.relabel(shape, lambda axis: axis)
    right = second.relabel(shape, lambda axis: axis if axis < n else axis + 1)
    total = walk.contract(left.plus(right), [n + 1])
    out = (*a.shape[: n + 1], b.shape[-1])
    return total.relabel(out, lambda axis: axis if axis <= n else n + 1 if axis == n + 2 else None)


@rule("mm", "bmm")
def _mm(walk: Walk, node: Node) -> Scale:
    return _matrix(walk, node.arguments[0], node.arguments[1], node.op == "bmm")


@rule("addmm", "baddbmm")
def _addmm(walk: Walk, node: Node) -> Scale:
    bias, a, b = node.arguments[:3]
    product = _matrix(walk, a, b, node.op == "baddbmm")
    beta = node.arguments[3] if len(node.arguments) > 3 else 1
    if beta == 0:
        return product
    added = walk.of(bias).broadcast(product.shape)
    scales.require_equal(walk.unknowns, product, added)
    return added if walk.loose(a) or walk.loose(b) else product


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
    return scale.relabel(shape_of(node), lambda axis: axis if axis == 0 else None)


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
    if count > 1:
        _tell_apart(walk, inner, 1)
        _tell_apart(walk, kernel, 0)
    total = inner.relabel(shape, lambda a: a).plus(kernel.relabel(shape, axes.get))
    total = walk.contract(total, [2]).relabel(
        (x.shape[0], count, outputs), lambda a: a if a < 2 else 2 if a == 3 else None
    )
    total = scales.reshape(unknowns, total, (x.shape[0], count * outputs))
    full = total.relabel(shape_of(node), lambda a: a)
    if isinstance(bias, Value):
        by_channel = walk.of(bias).relabel(shape_of(node), lambda a: a + 1)
        scales.require_equal(unknowns, full, by_channel)
    return full


@rule("_trilinear")
def _trilinear(walk: Walk, node: Node) -> Scale:
    """A sum of products of three, as in a bilinear layer."""
    total: Scale | None = None
    rank = len(node.arguments[0].shape) + len(node.arguments[3])
    operands = []
    for x, new in zip(node.arguments[:3], node.arguments[3:6], strict=True):
        old = [a for a in range(rank) if a not in new]
        sizes = tuple(x.shape[old.index(a)] if a in old else 1 for a in range(rank))
        operands.append(walk.of(x).relabel(sizes, dict(enumerate(old)).get))
    shape = tuple(max(s.shape[a] for s in operands) for a in range(rank))
    for scale in operands:
        wide = scale.broadcast(shape)
        total = wide if total is None else total.plus(wide)
    assert total is not None
    over = node.arguments[6]
    total = walk.contract(total, over)
    left = [a for a in range(rank) if a not in over]
    return total.relabel(shape_of(node), {a: n for n, a in enumerate(left)}.get)


@rule("_embedding_bag", "_embedding_bag_forward_only")
def _embedding_bag(walk: Walk, node: Node) -> list[Scale]:
    """Sums, means or maxima of rows."""
    weight = walk.of(node.arguments[0])
    padding = node.arguments[8] if len(node.arguments) > 8 else -1
    if padding >= 0:
        scales.require_none(walk.unknowns, weight)
        return [Scale(v.shape) for v in node.outputs]
    if node.arguments[4] == 2:  # maxima
        scales.separate(walk.unknowns, weight)
    rows = walk.contract(weight, [0])
    if len(node.arguments) > 6 and isinstance(node.arguments[6], Value):
        scales.require_none(walk.unknowns, walk.of(node.arguments[6]))
    return [Scale(v.shape, rows.broadcast(v.shape).terms if n == 0 else ())
            for n, v in enumerate(node.outputs)]  # fmt: skip


@rule("view_as_complex")
def _complex(walk: Walk, node: Node) -> Scale:
    """Two real numbers that are scaled alike."""
    x = node.arguments[0]
    last = len(x.shape) - 1
    return walk.contract(walk.of(x), [last]).relabel(shape_of(node), lambda a: a)


@rule("view_as_real")
def _real(walk: Walk, node: Node) -> Scale:
    return Scale(shape_of(node), walk.of(node.arguments[0]).terms)


@rule("_fft_c2c", "_fft_r2c", "_fft_c2r")
def _fourier(walk: Walk, node: Node) -> Scale:
    """Sums over the axes that are transformed."""
    x, axes = node.arguments[:2]
    return walk.contract(walk.of(x), [a % len(x.shape) for a in axes]).broadcast(shape_of(node))


@rule("embedding")
def _embedding(walk: Walk, node: Node) -> Scale:
    weight, index, padding = node.arguments[:3]
    rows = walk.contract(walk.of(weight), [0])
    if padding is not None and padding >= 0:  # its gradient is left out: a constant
        scales.require_none(walk.unknowns, walk.of(weight))
        return Scale(shape_of(node))
    rank = len(index.shape)
    return rows.relabel(shape_of(node), lambda a: a - 1 + rank if a else None)


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
    scale = walk.contract(scale, axes).broadcast(shape_of(node))
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
