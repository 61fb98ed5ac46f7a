"""Which tensors of a checkpoint are parameters, and what they are called.

Wrappers of training libraries leave prefixes in the names; buffers, statistics and the states of
optimisers lie between the parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from dmft.errors import InputError
from dmft.trajectory.readers.state import AVERAGED, OPTIMISER, role
from dmft.trajectory.readers.tensor import FLOATS, Tensor

# Anywhere in a name: torch.compile, fully sharded and checkpointed modules.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
# Sums over the data kept by batch normalisation, which are no parameters.
STATISTICS = ("*running_mean", "*running_var", "*num_batches_tracked")
# Masks and tables that models keep as buffers.
BUFFERS = (
    "*.masked_bias", "*causal_mask", "*attn_mask", "*attention_mask", "*.mask", "*.tril",
    "*inv_freq", "*position_ids", "*.rotary_emb.*_cached", "*rope.freqs", "*freqs_cis",
)  # fmt: skip
_SCALES = ("_scale", "_scale_inv", "_scales")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the shell patterns matches."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def unwrapped(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Tensors by their names without the prefixes of wrappers.

    Raises
    ------
    InputError : two tensors of one name.
    """
    names = [_bare(tensor.name) for tensor in tensors]
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    found: dict[str, Tensor] = {}
    for name, tensor in zip(names, tensors, strict=True):
        if name in found:
            raise InputError(f"holds tensor '{name}' twice", str(tensor.path))
        found[name] = tensor
    return found


@lru_cache(maxsize=65536)  # a run has the same names in every checkpoint
def _bare(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def no_parameters(row: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of what is no parameter of the model, and why."""
    reasons: dict[str, str] = {}
    for name, tensor in row.items():
        why = _told(name)
        if tensor.dtype.startswith(("int", "uint", "bool")):
            why = "integers"
        elif why is None and not tensor.size:
            why = "empty"
        if why is not None:
            reasons[name] = why
    kept = [name for name in row if name not in reasons]
    if not kept:  # a file of the averaged model alone
        reasons = {name: why for name, why in reasons.items() if why != AVERAGED}
    return reasons


@lru_cache(maxsize=65536)
def _told(name: str) -> str | None:
    """What the name alone says that it is, if no parameter."""
    if matches(name, STATISTICS):
        return "running statistics"
    if matches(f".{name}", BUFFERS):
        return "buffer"
    roles = [role(word) for word in name.replace("/", ".").split(".")[:-1]]
    told = [what for what in roles if what in (OPTIMISER, AVERAGED)]
    return str(told[0]) if told else None


def aligned(
    row: Mapping[str, Tensor], names: Sequence[str], wanted: Sequence[str]
) -> Mapping[str, Tensor]:
    """The row under the names of another checkpoint, where only a common prefix differs.

    Parameters
    ----------
    names : those of the parameters of the row; wanted : those of the other checkpoint.
    """
    if set(names) == set(wanted) or not names or not wanted:
        return row
    mine, other = _prefix(names), _prefix(wanted)
    # Of a.x, a.y against x, y the prefix is "a."; of a.b.x, a.b.y against b.x, b.y it is "a.b.".
    for old in mine:
        for new in other:
            renamed = {new + name.removeprefix(old) for name in names}
            if renamed == set(wanted):
                return {
                    new + name.removeprefix(old) if name.startswith(old) else name: tensor
                    for name, tensor in row.items()
                }
    return row


def _prefix(names: Sequence[str]) -> list[str]:
    """The common leading words of the names, from none to all of them."""
    words = [name.split(".") for name in names]
    found, count = [""], 0
    while all(len(w) > count + 1 and w[: count + 1] == words[0][: count + 1] for w in words):
        count += 1
        found.append(".".join(words[0][:count]) + ".")
    return found


def check_type(name: str, tensor: Tensor, row: Mapping[str, Tensor], where: str) -> None:
    """Refuse numbers that are not read.

    Raises
    ------
    InputError : complex or sparse tensors and the like; float8 that has to be multiplied by scales.
    """
    if tensor.dtype not in FLOATS:
        raise InputError(
            f"tensor '{name}' is of type {tensor.dtype}, allowed: {', '.join(FLOATS)}; "
            "--exclude leaves it out",
            where,
        )
    scale = [name + end for end in _SCALES if name + end in row]
    if tensor.dtype.startswith("float8") and scale:
        raise InputError(
            f"tensor '{name}' is quantised with '{scale[0]}', convert to float16 first", where
        )
