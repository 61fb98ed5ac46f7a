"""Which part of a training checkpoint is the model.

Training programs save dictionaries of dictionaries: the model under any key, beside optimiser,
scheduler, averaged copies, counters and random states. Those are never parameters unless asked
for by their key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dmft.errors import InputError
from dmft.texts import DEEPEST

_MOST_ENTRIES = 10_000_000
OPTIMISER, AVERAGED, PROGRESS = "optimiser state", "averaged copy", "state of the training loop"
_OPTIMISER = re.compile(
    r"^(optim.*|opt|opt_?state.*|opt_?[dg]|[dg]_?opt|.*_optim(izer|iser)?s?(_states?|_state_dict)?|"
    r"exp_avg|exp_avg_sq|exp_avgs|max_exp_avg_sq|momentum_buffer|adam.*|master_weights|"
    r"fp32_groups|fp32_from_fp16.*)$",
    re.IGNORECASE,
)
_AVERAGED = re.compile(
    r"^(ema|.*_ema|ema_.*|swa|swa_.*|.*_swa|averaged?|averaged?_.*|.*_averaged?|shadow.*|polyak.*)$",
    re.IGNORECASE,
)
_PROGRESS = re.compile(
    r"^((lr_?)?sched.*|.*_scheduler(_state_dict)?|(grad_?)?scaler.*|amp.*|rng.*|.*_rng.*|random.*|"
    r"callbacks|loops|hyper_parameters|hparams.*|args|config|cfg|metrics?|history|logs?|"
    r"train_?loader.*|data_?loader.*|sampler.*|loss_scaler|best_.*|training_args)$",
    re.IGNORECASE,
)
# Names under which a model is meant where another entry has the very same tensors.
_MODEL = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "params")


def role(word: str) -> str | None:
    """What an entry of this name is, if it is no model."""
    for pattern, what in ((_OPTIMISER, OPTIMISER), (_AVERAGED, AVERAGED), (_PROGRESS, PROGRESS)):
        if pattern.match(word):
            return what
    return None


def model_of(
    table: Mapping[Any, Any], key: str | None, where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors of the model by name, and the entries left out with the reason.

    Parameters
    ----------
    table : what a file holds.
    key : entry that is asked for, with points between levels; None finds the model.
    where : the file, for messages.

    Raises
    ------
    InputError : no such entry, no tensors, or two models of the same tensors.
    """
    _check_nesting(table, where)
    if key is not None:
        return dict(_flat(_entry(table, key, where))), {}
    left_out: dict[str, str] = {}
    tensors = dict(_models(table, left_out, where))
    if not tensors and left_out:
        said = ", ".join(f"{name}: {what}" for name, what in left_out.items())
        raise InputError(f"holds no model ({said}), choose an entry with --key", where)
    return tensors, left_out


def _check_nesting(table: Mapping[Any, Any], where: str) -> None:
    """Refuse what takes for ever to walk through: cycles, and lists that hold others many times."""
    counts: dict[int, int] = {}

    def count(value: Any, depth: int) -> int:
        if _is_tensor(value) or not isinstance(value, Mapping | list | tuple):
            return 1
        if id(value) not in counts:
            if depth > DEEPEST:
                raise InputError(f"is nested deeper than {DEEPEST} levels", where)
            inside = value.values() if isinstance(value, Mapping) else value
            counts[id(value)] = 1 + sum(count(inner, depth + 1) for inner in inside)
        return counts[id(value)]

    if count(table, 0) > _MOST_ENTRIES:
        raise InputError(f"holds more than {_MOST_ENTRIES} entries", where)


def _models(
    table: Mapping[Any, Any], left_out: dict[str, str], where: str, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    loose = {str(name): value for name, value in table.items() if _is_tensor(value)}
    told = {name: what for name in loose if (what := role(name)) in (PROGRESS, OPTIMISER)}
    loose = {name: value for name, value in loose.items() if name not in told}
    left_out |= {prefix + name: what for name, what in told.items() if what}
    nested: dict[str, Mapping[Any, Any]] = {}
    for name, value in table.items():
        what = OPTIMISER if _is_optimiser(value) else role(str(name))
        if not any(True for _ in _flat(value)) or _is_tensor(value):
            continue
        if what is None and isinstance(value, Mapping):
            nested[str(name)] = value
        else:
            left_out[prefix + str(name)] = what or "a list"
    averaged = [name for name, what in left_out.items() if what == AVERAGED]
    if not nested and not loose and len(averaged) == 1 and not prefix:
        only = averaged[0]  # a file of the averaged model alone
        del left_out[only]
        nested[only] = table[only]
    nested = _without_copies(nested, left_out, where, prefix)
    if nested and all(tensor.numel() <= 1 for tensor in loose.values()):
        left_out |= dict.fromkeys((prefix + name for name in loose), "beside the model")
        loose = {}
    yield from loose.items()
    for name, inner in nested.items():
        found = dict(_models(inner, left_out, where, f"{prefix}{name}."))
        alone = len(nested) == 1 and not loose
        yield from found.items() if alone else ((f"{name}.{k}", v) for k, v in found.items())


def _without_copies(
    nested: dict[str, Mapping[Any, Any]], left_out: dict[str, str], where: str, prefix: str
) -> dict[str, Mapping[Any, Any]]:
    """Of two entries with the same tensors only the one that is named as the model."""
    seen: dict[tuple[Any, ...], str] = {}
    kept = dict(nested)
    order = sorted(nested, key=lambda name: _MODEL.index(name) if name in _MODEL else len(_MODEL))
    for name in order:
        shapes = tuple((key, tuple(value.shape)) for key, value in _flat(nested[name]))
        if shapes in seen:
            raise InputError(
                f"holds two models of the same tensors ({seen[shapes]}, {name}), choose with "
                f"--key {seen[shapes]}",
                where,
            )
        seen[shapes] = prefix + name
    return kept


def _entry(table: Mapping[Any, Any], key: str, where: str) -> Any:
    found: Any = table
    if key in table:
        return table[key]
    for word in key.split("."):
        if not isinstance(found, Mapping) or word not in found:
            known = ", ".join(map(str, list(table)[:6]))
            raise InputError(f"has no entry '{key}', there are {known}", where)
        found = found[word]
    return found


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if _is_tensor(value):
        yield prefix.rstrip(".") or "array", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}{key}.")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{prefix}{number}.")


def _is_optimiser(value: Any) -> bool:
    """By its content, whatever its name: the form of PyTorch's optimisers."""
    return isinstance(value, Mapping) and {"state", "param_groups"} <= {str(k) for k in value}


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "untyped_storage")
