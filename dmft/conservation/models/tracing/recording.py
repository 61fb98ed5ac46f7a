"""The operations of one forward pass, as PyTorch dispatches them below autograd.

Whatever Python does on the way (hooks, parametrisations, weights used by hand) ends here.
What is detached or computed without gradients is a constant of the gradient field: a symmetry that
leaves it alone still gives a law. Custom backward passes and gradient hooks change the field, so
that nothing follows from the forward pass: they are reasons to list no law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.tracing.aliases import covers, overlap
from dmft.conservation.models.tracing.outputs import outputs_of, tensors_in

if TYPE_CHECKING:
    import torch

_NO_MUTATION = ("batch_norm", "rrelu_with_noise")  # running statistics and noise only

_ZEROS = frozenset(("zeros", "zeros_like", "new_zeros"))
_MOVED = frozenset(("view", "_unsafe_view", "expand", "slice", "select", "t", "transpose",
                    "permute", "unsqueeze", "squeeze", "clone", "alias", "_to_copy", "contiguous",
                    "cat", "stack", "unbind", "split", "split_with_sizes", "detach"))  # fmt: skip


class NotTraced(Exception):
    """Why a forward pass does not tell the gradient field."""


@dataclass
class Value:
    """A tensor at one point of the forward pass.

    kind : 'parameter', 'dependent' on parameters, 'data' or 'tokens' (of inputs that are real
        or whole numbers; random numbers are data) or 'constant'.
    numbers : the entries of integers and truth values, where they are known.
    whole : its entries are integers or truth values, through which no gradient passes.
    zero : made of zeros, whatever the data are.
    gaps : where a constant that multiplies a parameter is zero, if it is somewhere.
    """

    index: int
    shape: tuple[int, ...]
    kind: str
    name: str = ""
    numbers: Any = None
    whole: bool = False
    zero: bool = False
    gaps: Any = None

    @property
    def moves(self) -> bool:
        """Whether it depends on parameters."""
        return self.kind in ("parameter", "dependent")


@dataclass
class Node:
    """One operation. Tensors among the arguments are replaced by their values."""

    op: str
    arguments: list[Any]
    outputs: list[Value]

    @property
    def inputs(self) -> list[Value]:
        """All values among the arguments, in order."""
        return list(_values(self.arguments))


@dataclass
class Trace:
    """All operations that depend on parameters, in order."""

    parameters: dict[str, Value]
    nodes: list[Node] = field(default_factory=list)
    outputs: list[tuple[str, Value]] = field(default_factory=list)


def _values(something: Any) -> Iterator[Value]:
    if isinstance(something, Value):
        yield something
    elif isinstance(something, (list, tuple)):
        for one in something:
            yield from _values(one)


class _Recorder:
    """Keeps every tensor alive, so that identity tells them apart."""

    def __init__(self, model: torch.nn.Module, *, fake: bool) -> None:
        self.fake = fake
        self.values: dict[int, Value] = {}
        self.alive: list[Any] = []
        self.storages: dict[int, list[Any]] = {}
        self.unsafe: dict[int, Any] = {}  # of what views that autograd takes for none are parts
        self.count = 0
        self.trace = Trace({})
        for name, parameter in model.named_parameters():
            kind = "parameter" if parameter.requires_grad else "constant"
            value = self.enter(parameter, kind, name)
            if kind == "parameter":
                self.trace.parameters[name] = value

    def enter(self, tensor: Any, kind: str, name: str = "") -> Value:
        import torch

        numbers = None
        whole = not (tensor.is_floating_point() or tensor.is_complex())
        if whole and not self.fake and type(tensor) is torch.Tensor and not tensor.is_meta:
            numbers = tensor.detach().clone().numpy() if tensor.device.type == "cpu" else None
        value = Value(self.count, tuple(tensor.shape), kind, name, numbers, whole)
        self.count += 1
        self.values[id(tensor)] = value
        self.alive.append(tensor)
        aliases = self.storages.setdefault(tensor.untyped_storage()._cdata, [])
        if not any(one is tensor for one in aliases):
            aliases.append(tensor)
        return value

    def value(self, tensor: Any) -> Value:
        return self.values.get(id(tensor)) or self.enter(tensor, "constant")

    def replaced(self, something: Any) -> Any:
        import torch

        if isinstance(something, torch.Tensor):
            return self.value(something)
        if isinstance(something, (list, tuple)):
            return [self.replaced(one) for one in something]
        return something

    def note(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        import torch

        schema = func._schema
        op = schema.name.removeprefix("aten::")
        given = {**dict(zip((a.name for a in schema.arguments), args, strict=False)), **kwargs}
        arguments = [
            self.replaced(given.get(a.name, a.default_value if a.has_default_value() else None))
            for a in schema.arguments
        ]
        inputs = list(_values(arguments))
        moves = any(value.moves for value in inputs)
        kinds = {value.kind for value in inputs}
        if torch.Tag.nondeterministic_seeded in func.tags:
            kinds.add("data")
        kind = "dependent" if moves else next((k for k in ("data", "tokens") if k in kinds),
                                              "constant")  # fmt: skip
        if moves and (op in ("detach", "lift_fresh") or not torch.is_grad_enabled()):
            kind, moves = "data", False
        chosen = op in ("nonzero", "unique_dim", "_unique2") and any(v.moves for v in inputs)
        if chosen or (
            op in ("_local_scalar_dense", "is_nonzero", "equal", "allclose")
            and any(value.moves or value.kind == "data" for value in inputs)
        ):
            raise NotTraced(
                "the forward pass depends on values of tensors or random numbers (control flow)"
            )
        mutated = [
            given[a.name] for a in schema.arguments
            if a.alias_info is not None and a.alias_info.is_write and a.name in given
        ]  # fmt: skip
        if any(word in op for word in _NO_MUTATION):
            mutated = []
        if mutated and self._mutate(op, arguments, mutated, out, kind, moves):
            return
        if op in ("mul", "mul_") and not self.fake:
            self._note_gaps([given[a.name] for a in schema.arguments[:2]])
        outputs = [self.enter(one, kind) for one in tensors_in(out)]
        if "unsafe" in op:
            self.unsafe |= {id(one): next(tensors_in(list(args))) for one in tensors_in(out)}
        zero = op in _ZEROS or (op in _MOVED and all(value.zero for value in inputs))
        for value in outputs:
            value.zero = zero
        if moves and outputs:
            self.trace.nodes.append(Node(op.removesuffix("_") if mutated else op, arguments,
                                         outputs))  # fmt: skip

    def _note_gaps(self, factors: Sequence[Any]) -> None:
        """Where a mask cuts a parameter."""
        for mask, other in (factors, factors[::-1]):
            tensors = list(tensors_in([mask, other]))
            if len(tensors) < 2 or self.value(mask).kind != "constant" or mask.is_meta:
                continue
            if self.value(other).kind == "parameter" and mask.shape == other.shape:
                cut = (mask == 0).numpy(force=True)
                self.value(mask).gaps = cut if cut.any() else None

    def _mutate(
        self, op: str, arguments: list[Any], mutated: list[Any], out: Any, kind: str, moves: bool
    ) -> bool:
        """A change in place; aliases change too. Whether all has been noted."""
        import torch

        target = next(iter(tensors_in(mutated)), None)
        if target is None:
            return False
        if self.value(target).kind == "parameter":
            raise NotTraced(f"the forward pass changes {self.value(target).name} in place")
        aliases = [
            one for one in self.storages[target.untyped_storage()._cdata]
            if one is not target and self.values[id(one)].kind != "parameter"
        ]  # fmt: skip
        if any(
            self.values[id(one)].kind == "parameter"
            for one in self.storages[target.untyped_storage()._cdata]
        ):
            raise NotTraced("the forward pass changes a parameter in place")
        if not torch.is_grad_enabled():
            self._change_silently([target, *aliases])
            return True
        # What was detached before shares its numbers but no history.
        origin = self._origin(target)
        self._change_silently([one for one in aliases if self._origin(one) is not origin])
        aliases = [one for one in aliases if self._origin(one) is origin]
        if len(mutated) > 1 or any(one is not target for one in tensors_in(out)):
            aliases.append(target)
            op = "arbitrary"
        if not moves and not any(self.values[id(one)].moves for one in aliases):
            zero = op == "zero_" and all(covers(one, target) for one in aliases)
            for one in (target, *aliases):
                self.enter(one, kind).zero = zero
            return True
        if op == "arbitrary":
            every = [target, *[one for one in aliases if one is not target]]
            inputs = [*arguments, [self.values[id(one)] for one in every]]
            known = {id(one) for one in every}
            every += [one for one in tensors_in(out) if id(one) not in known]
            outputs = [self.enter(one, "dependent") for one in every]
            self.trace.nodes.append(Node("arbitrary", inputs, outputs))
            return True
        before = {id(one): self.values[id(one)] for one in aliases}
        result = self.enter(target, kind)
        self.trace.nodes.append(Node(op.removesuffix("_"), arguments, [result]))
        for one in aliases:
            if covers(one, target):
                again = self.enter(one, kind)
                self.trace.nodes.append(Node("view", [result, list(again.shape)], [again]))
            elif overlap(one, target):
                again = self.enter(one, "dependent")
                mixed: list[Any] = [before[id(one)], result]
                self.trace.nodes.append(Node("arbitrary", mixed, [again]))
        return True

    def _origin(self, tensor: Any) -> Any:
        """The tensor of which it is a view, for autograd."""
        origin = tensor if tensor._base is None else tensor._base
        return self._origin(self.unsafe[id(origin)]) if id(origin) in self.unsafe else origin

    def _change_silently(self, every: list[Any]) -> None:
        """A change in place that gradients do not see: a constant is added, nothing may scale."""
        for one in every:
            before = self.values[id(one)]
            after = self.enter(one, "dependent" if before.moves else "data")
            if before.moves:
                self.trace.nodes.append(Node("arbitrary", [before], [after]))


def record(
    model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, fake: bool
) -> Trace:
    """Run the model once and write down what it does; its buffers stay as they are.

    Raises
    ------
    NotTraced : the forward pass does not tell the gradient field.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    recorder = _Recorder(model, fake=fake)

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            recorder.note(func, args, kwargs or {}, out)
            return out

    with _quiet(model), ExitStack() as stack:
        if fake:
            from torch._subclasses.fake_tensor import FakeTensorMode

            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        for one in tensors_in([*args, *kwargs.values()]):
            recorder.enter(one, "data" if one.is_floating_point() else "tokens")
        stack.enter_context(Mode())
        out = model(*args, **kwargs)
    for label, tensor in outputs_of(out):
        if id(tensor) not in recorder.values:
            raise NotTraced("an output cannot be followed")
        recorder.trace.outputs.append((label, recorder.values[id(tensor)]))
        _check_backward(tensor)
    return recorder.trace


@contextmanager
def _quiet(model: torch.nn.Module) -> Iterator[None]:
    """No fused kernels, the same random numbers as before, and buffers put back."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    buffers = [(b, b.clone()) for b in model.buffers() if not b.is_meta]
    with (
        sdpa_kernel(SDPBackend.MATH), torch.random.fork_rng(devices=[]), torch.enable_grad(),
    ):  # fmt: skip
        fused = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(fused)
            with torch.no_grad():
                for buffer, before in buffers:
                    if buffer.shape == before.shape:
                        buffer.copy_(before)


def _check_backward(tensor: Any) -> None:
    """No node of the backward pass is a function of Python."""
    from torch.autograd.function import BackwardCFunction

    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            raise NotTraced(f"a backward pass of its own ({type(node).__name__})")
        waiting += [following for following, _ in node.next_functions]
