"""Plain PyTorch models: the forward pass is traced, and each channel tried for a free scale.

Each channel of each activation gets a scale exp(s). A layer gives its output a new s: its rows are
multiplied by it, the columns of what reads it divided. Rectifiers, pooling and dropout pass it on,
other functions fix s = 0, sums need equal s, products add them. Every free direction s that is
left is a symmetry with a diagonal generator, and gives a law per channel:
sum of (exponent) * |rows|^2. Two layers with nothing between them can mix all channels.
What is not known fixes s = 0, so that nothing is claimed that does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

from dmft.conservation.models import huggingface
from dmft.conservation.models.activations import degree
from dmft.conservation.models.blocks import (
    Attention,
    difference,
    eps_breaks,
    fused_heads,
    shift_of_outputs,
)
from dmft.conservation.models.forms import Slot, Term
from dmft.conservation.models.survey import Survey

if TYPE_CHECKING:
    import torch

Exponents = dict[int, int]  # by free scale; empty: fixed
_PASSING = (
    "Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "PReLU",
    *(f"{a}{kind}Pool{n}d" for a in ("", "Adaptive") for kind in ("Max", "Avg") for n in (1, 2, 3)),
)  # fmt: skip
_BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
_OTHER_NORMS = ("LayerNorm", "GroupNorm", "RMSNorm")
_LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")


@dataclass(frozen=True)
class Channels:
    """What is known about the channels of an activation.

    scale : exponents of the free scales. size : number of channels, 0 if unknown.
    flat : each channel has become a run of adjacent entries of the last axis.
    last : the channels are the last axis, else the second.
    """

    scale: Exponents = field(default_factory=dict)
    size: int = 0
    flat: bool = False
    last: bool = False

    @property
    def layout(self) -> tuple[int, bool, bool]:
        """Activations of one layout have their channels in the same places."""
        return self.size, self.flat, self.last


FIXED = Channels()


class Graph:
    """Surveys one module through its trace."""

    def __init__(self, survey: Survey, prefix: str, module: torch.nn.Module) -> None:
        self.survey = survey
        self.prefix = prefix
        self.module = module
        self.sizes: list[int] = []
        self.constraints: list[Exponents] = []
        self.terms: list[tuple[Slot, Exponents]] = []
        self.called: dict[str, tuple[Channels, Channels]] = {}
        self.mixed: set[int] = set()

    def run(self, graph: Any) -> None:
        """Follow the graph of `torch.fx` and add the laws."""
        values: dict[Any, Channels] = {}
        self.nodes = list(graph.nodes)
        for node in self.nodes:
            arguments = [values[one] for one in node.all_input_nodes]
            values[node] = self._visit(node, arguments)
        self._laws()
        self._last_layers()

    # --- one operation

    def _visit(self, node: Any, arguments: list[Channels]) -> Channels:
        if node.op == "call_module":
            return self._visit_module(node, arguments)
        if node.op in ("call_function", "call_method"):
            return self._visit_function(node, arguments)
        if node.op == "get_attr" and self._name(node.target) in self.survey.names:
            self.survey.unrecognised.append(f"{self._name(node.target)}: used outside of a module")
        return self._fix(arguments)

    def _fix(self, arguments: list[Channels]) -> Channels:
        self.constraints += [channels.scale for channels in arguments if channels.scale]
        return FIXED

    def _equal(self, a: Channels, b: Channels) -> Channels:
        if a.layout != b.layout:
            return self._fix([a, b])
        self.constraints.append(_combine(a.scale, b.scale, -1))
        return a

    def _new(self, size: int, last: bool) -> Channels:
        self.sizes.append(size)
        return Channels({len(self.sizes) - 1: 1}, size, last=last)

    def _visit_function(self, node: Any, arguments: list[Channels]) -> Channels:
        kind = _FUNCTIONS.get(node.target if node.op == "call_method" else _name_of(node.target))
        if len(arguments) == 1:
            (x,) = arguments
            pools = "pool" in _name_of(node.target) or _name_of(node.target) == "boolean_dispatch"
            if kind == "pass" and not (pools and (x.last or x.flat)):
                return x
            if kind == "scale" and len(node.args) == 2 and node.args[0] in node.all_input_nodes:
                return x
            spatial = not (x.last or x.flat)
            if kind == "flatten" and spatial and _flattens_all(node):
                return replace(x, flat=True)
            if kind == "mean" and spatial and _means_over_places(node):
                return replace(x, flat=True)
        if len(arguments) == 2 and kind == "add" and not node.kwargs:
            return self._equal(*arguments)
        if len(arguments) == 2 and kind == "scale" and _name_of(node.target) not in _DIVISIONS:
            return self._product(*arguments)
        return self._fix(arguments)

    def _product(self, a: Channels, b: Channels) -> Channels:
        if a.layout != b.layout:
            return self._fix([a, b])
        return replace(a, scale=_combine(a.scale, b.scale, 1))

    def _visit_module(self, node: Any, arguments: list[Channels]) -> Channels:
        module = self.module.get_submodule(node.target)
        name, kind = self._name(node.target), type(module).__name__
        if not type(module).__module__.startswith("torch.nn.modules."):
            return self._visit_foreign(name, module, arguments)
        if not self._is_plain(name, module):
            self.survey.unrecognised.append(f"{name}: {kind} with parametrised weights")
            return self._fix(arguments)
        power = degree(module)
        if power is not None and len(arguments) == 1:
            return self._activate(arguments[0], power)
        if kind in _PASSING:
            (x,) = arguments
            elementwise = kind in ("Identity", "Dropout")
            return x if elementwise or not (x.last or x.flat) else self._fix(arguments)
        if kind == "Flatten":
            x = arguments[0]
            whole = module.start_dim == 1 and module.end_dim == -1
            spatial = whole and not (x.last or x.flat)
            return replace(x, flat=True) if spatial else self._fix(arguments)
        if kind in (*_LAYERS, *_BATCH_NORMS, *_OTHER_NORMS, "Embedding"):
            return self._visit_layer(node, name, kind, module, arguments)
        if kind == "MultiheadAttention":
            if name not in self.called:
                multi_head(self.survey, name, module)
            self.called[name] = (FIXED, FIXED)
        elif any(True for _ in module.parameters()):
            self.survey.unrecognised.append(f"{name}: {kind}")
        return self._fix(arguments)

    def _visit_foreign(
        self, name: str, module: torch.nn.Module, arguments: list[Channels]
    ) -> Channels:
        reader = huggingface.reader(module)
        if name in self.called:
            pass
        elif reader:
            reader(self.survey, name, module)
        elif any(True for _ in module.parameters()):
            self.survey.unrecognised.append(f"{name}: {type(module).__name__}")
        self.called[name] = (FIXED, FIXED)
        return self._fix(arguments)

    def _activate(self, x: Channels, power: int) -> Channels:
        if not power:
            self._fix([x])
            return replace(x, scale={})
        return replace(x, scale={s: power * n for s, n in x.scale.items()})

    def _visit_layer(
        self, node: Any, name: str, kind: str, module: Any, arguments: list[Channels]
    ) -> Channels:
        x = arguments[0] if arguments else FIXED
        if name in self.called:  # the same weights again: the same scales
            before, out = self.called[name]
            self._equal(before, x)
            return out
        last = kind in ("Linear", "Embedding", "LayerNorm", "RMSNorm") or (
            kind == "BatchNorm1d" and (x.last or x.flat)
        )
        out = self._write(name, kind, module, last)
        if kind in _LAYERS:
            self._read(node, name, kind, module, x)
        else:
            self._fix([x])
        if kind != "Embedding":
            self._before_a_norm(node, kind, module)
        self.called[name] = (x, out)
        return out

    def _write(self, name: str, kind: str, module: Any, last: bool) -> Channels:
        """The output of a layer, with a scale of its own for each channel."""
        if module.weight is None:
            return FIXED
        if kind in _OTHER_NORMS and module.weight.ndim > 1:
            return FIXED
        size = module.weight.shape[1 if kind == "Embedding" else 0]
        out = self._new(size, last)
        weight = self.survey.slot(f"{name}.weight")
        if kind == "Embedding":
            if module.padding_idx is not None or module.max_norm is not None:
                self.survey.unrecognised.append(f"{name}: padding_idx or max_norm")
                return self._fix([out])
            weight = weight.then(lambda x: x.T)
        self.terms.append((weight, out.scale))
        if getattr(module, "bias", None) is not None:
            self.terms.append((self.survey.slot(f"{name}.bias"), out.scale))
        return out

    def _read(self, node: Any, name: str, kind: str, module: Any, x: Channels) -> None:
        """Columns of a layer are divided by the scale of its input."""
        if not x.scale:
            return
        weight = self.survey.slot(f"{name}.weight")
        inputs = module.in_features if kind == "Linear" else module.in_channels
        groups = 1 if kind == "Linear" else module.groups
        if x.flat and kind == "Linear" and inputs % x.size == 0:
            shape = (x.size, inputs // x.size)
            column = weight.then(lambda w: w.unflatten(1, shape).movedim(1, 0))
        elif x.flat or x.last != (kind == "Linear"):
            self._fix([x])
            return
        elif inputs == x.size and groups == 1:
            column = weight.then(lambda w: w.transpose(0, 1))
        elif inputs == x.size == groups:  # each channel on its own
            column = weight.then(lambda w: w.unflatten(0, (inputs, -1)))
        else:
            self._fix([x])
            return
        self.terms.append((column, {s: -n for s, n in x.scale.items()}))
        if groups == 1 and not x.flat:
            self._mix(node, name, kind, x)

    def _mix(self, node: Any, name: str, kind: str, x: Channels) -> None:
        """Two layers of one kind with nothing between them: any basis will do."""
        (source,) = node.all_input_nodes
        if source.op != "call_module" or len(source.users) > 1:
            return
        inner = self._name(source.target)
        before = self.module.get_submodule(source.target)
        if type(before).__name__ != kind or getattr(before, "groups", 1) != 1:
            return
        if sum(one.target in (source.target, node.target) for one in self.nodes) > 2:
            return
        (scale,) = x.scale
        self.mixed.add(scale)
        rows = self.survey.slot(f"{inner}.weight").then(lambda w: w.flatten(1)[None, None])
        columns = self.survey.slot(f"{name}.weight").then(
            lambda w: w.transpose(0, 1).flatten(1)[None, None]
        )
        terms = [Term(rows)]
        if before.bias is not None:
            bias = self.survey.slot(f"{inner}.bias")
            terms.append(Term(bias.then(lambda b: b[None, None, :, None])))
        terms.append(Term(columns, -1.0))
        formula = difference(terms[:-1], "{0} {0}^T") + f" - {name}.weight^T {name}.weight"
        self.survey.gram(f"balance {inner}-{name}", formula, terms)

    def _before_a_norm(self, node: Any, kind: str, norm: Any) -> None:
        """What a norm does not see of the layer before it."""
        sources = node.all_input_nodes
        if len(sources) != 1 or sources[0].op != "call_module" or len(sources[0].users) > 1:
            return
        name = self._name(sources[0].target)
        layer = self.module.get_submodule(sources[0].target)
        centred = kind in _BATCH_NORMS and norm.training
        mean = kind == "LayerNorm" and len(norm.normalized_shape) == 1
        if type(layer).__name__ not in _LAYERS or not (centred or mean):
            return
        if [one.target for one in self.nodes].count(sources[0].target) > 1:
            return
        weight = self.survey.slot(f"{name}.weight")
        bias = self.survey.slot(f"{name}.bias") if layer.bias is not None else None
        if centred:
            self.survey.squares(
                f"norms {name}", f"|{weight}[k,:]|^2", [Term(weight)],
                why_not=eps_breaks(norm.eps),
            )  # fmt: skip
            if bias:
                self.survey.sums(f"bias {name}", f"{bias} (the norm subtracts it)", [Term(bias)])
        elif type(layer).__name__ == "Linear":
            self.survey.sums(
                f"stream mean {name}.weight", f"sum_i {weight}[i,:]",
                [Term(weight.then(lambda w: w.T))],
            )  # fmt: skip
            if bias:
                self.survey.sums(
                    f"stream mean {name}.bias", f"sum_i {bias}[i]", [Term(bias)], rows=0
                )

    # --- the laws

    def _laws(self) -> None:
        for direction in null_space(self.constraints, len(self.sizes)):
            involved = [s for s, n in enumerate(direction) if n]
            if len(involved) == 1 and involved[0] in self.mixed:
                continue
            terms = []
            for slot, scale in self.terms:
                weight = sum(direction[s] * n for s, n in scale.items())
                if weight:
                    terms.append(Term(slot, float(weight)))
            if not terms or len({self.sizes[s] for s in involved}) > 1:
                continue
            terms.sort(key=lambda term: term.weight < 0)  # positive ones first
            names = [term.slot.name.rpartition(".")[0] for term in terms]
            self.survey.squares(
                f"channels {names[0]}" if len(involved) > 1 or len(set(names)) != 2
                else f"neurons {names[0]}-{names[-1]}",
                _by_channel(terms), terms,
            )  # fmt: skip

    def _last_layers(self) -> None:
        """Linear layers that give the outputs."""
        (output,) = [node for node in self.nodes if node.op == "output"]
        for node in output.all_input_nodes:
            if node.op != "call_module" or len(node.users) > 1 or self.prefix:
                continue
            layer = self.module.get_submodule(node.target)
            if type(layer).__name__ == "Linear" and self._is_plain(node.target, layer):
                bias = self.survey.slot(f"{node.target}.bias") if layer.bias is not None else None
                weight = self.survey.slot(f"{node.target}.weight")
                shift_of_outputs(self.survey, node.target, weight, bias)

    def _name(self, target: str) -> str:
        return f"{self.prefix}.{target}" if self.prefix else target

    def _is_plain(self, name: str, module: Any) -> bool:
        """Whether weight and bias are parameters, not computed from others."""
        own = {key for key, _ in module.named_parameters(recurse=False)}
        return own <= {"weight", "bias", "in_proj_weight", "in_proj_bias", "q_proj_weight",
                       "k_proj_weight", "v_proj_weight", "bias_k", "bias_v"} and not any(
            type(child).__name__ == "ParametrizationList" for child in module.modules()
        ) and not module._forward_pre_hooks  # fmt: skip


def multi_head(survey: Survey, name: str, module: Any) -> None:
    """`torch.nn.MultiheadAttention`: one matrix for queries, keys and values."""
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        survey.unrecognised.append(
            f"{name}: MultiheadAttention with separate widths, bias_k or add_zero_attn"
        )
        return
    place = f"{name}." if name else ""
    width, heads = module.embed_dim, module.num_heads
    split = (heads, 1, width // heads)
    parts: dict[str, Any] = {}
    for i, part in enumerate("qkv"):
        parts[part] = survey.slot(f"{place}in_proj_weight", part).then(
            fused_heads(i * width, width, split)
        )
        if module.in_proj_bias is not None:
            parts[f"bias_{part}"] = survey.slot(f"{place}in_proj_bias", part).then(
                fused_heads(i * width, width, split, bias=True)
            )
    output = survey.slot(f"{place}out_proj.weight").then(lambda x: x.T.unflatten(0, split))
    Attention(name or "attention", o=output, **parts).survey(survey)


def trace(module: torch.nn.Module) -> Any:
    """The graph of the forward pass, None if it depends on the data or cannot be followed."""
    from torch import fx

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
            foreign = type(m).__module__.startswith("transformers.")
            return foreign or super().is_leaf_module(m, module_qualified_name)

    try:
        return Tracer().trace(module)
    except Exception:  # whatever a stranger's forward pass raises
        return None


def null_space(constraints: list[Exponents], size: int) -> list[list[int]]:
    """Integer vectors that span what satisfies the constraints, by exact elimination."""
    pivots: dict[int, list[Fraction]] = {}
    for constraint in constraints:
        row = [Fraction(constraint.get(s, 0)) for s in range(size)]
        for pivot, other in pivots.items():
            if row[pivot]:
                factor = row[pivot]
                row = [a - factor * b for a, b in zip(row, other, strict=True)]
        lead = next((s for s, value in enumerate(row) if value), None)
        if lead is None:
            continue
        row = [value / row[lead] for value in row]
        for pivot, other in pivots.items():
            if other[lead]:
                factor = other[lead]
                pivots[pivot] = [a - factor * b for a, b in zip(other, row, strict=True)]
        pivots[lead] = row
    basis = []
    for free in (s for s in range(size) if s not in pivots):
        vector = [Fraction(int(s == free)) for s in range(size)]
        for pivot, row in pivots.items():
            vector[pivot] = -row[free]
        scale = 1
        for value in vector:
            scale = lcm(scale, value.denominator)
        basis.append([int(value * scale) for value in vector])
    return basis


def _combine(a: Exponents, b: Exponents, sign: int) -> Exponents:
    total = dict(a)
    for s, n in b.items():
        total[s] = total.get(s, 0) + sign * n
    return {s: n for s, n in total.items() if n}


def _by_channel(terms: list[Term]) -> str:
    text = ""
    for term in terms:
        sign, size = ("+", term.weight) if term.weight > 0 else ("-", -term.weight)
        times = "" if size == 1 else f"{size:g} "
        name = term.slot.name
        rows = f"{name}[k]" if term.weight > 0 else f"{name}[:,k]"
        text += f" {sign} {times}|{rows}|^2"
    return text.removeprefix(" + ")


def _name_of(target: Callable[..., Any]) -> str:
    return getattr(target, "__name__", str(target))


_DIVISIONS = ("truediv", "div", "true_divide", "itruediv")
_FUNCTIONS = {
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "dropout", "max_pool2d", "avg_pool2d",
                     "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
                     "adaptive_max_pool2d", "contiguous", "clone", "neg", "boolean_dispatch"),
                    "pass"),
    **dict.fromkeys(("add", "iadd"), "add"),
    **dict.fromkeys(("mul", "imul", *_DIVISIONS), "scale"),
    "flatten": "flatten", "mean": "mean",
}  # fmt: skip


def _flattens_all(node: Any) -> bool:
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
    return (start, end) == (1, -1)


def _means_over_places(node: Any) -> bool:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    plain = not node.kwargs.get("keepdim", False) and len(node.args) <= 2
    return plain and isinstance(dims, (tuple, list)) and sorted(dims) in ([2, 3], [-2, -1])
