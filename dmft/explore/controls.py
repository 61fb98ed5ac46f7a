"""Settings as controls of a page: what can be moved, where it stands, how far it goes.

The controls are read off the models of the settings, for the kinds that are chosen now; only the
reach of a slider is written down here. Tables are those of files, with `problem`, `dynamics` and
`solver` side by side.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from dmft.config import Config
from dmft.errors import InputError
from dmft.explanation import explanations
from dmft.problem import Problem
from dmft.shapes import KIND, Table, tables
from dmft.validation import Settings, echo

STEPS_OR_TIME = "solver.t_max"
_SECTIONS = ("labels", "loss", "teacher", "network")  # of [problem], in the order of the page


@dataclass(frozen=True)
class Reach:
    """How far a slider goes; what is beyond can be typed.

    log : even in the logarithm; with `zero` its lowest place is 0.
    """

    low: float
    high: float
    log: bool = False
    zero: bool = False


_DECADES = Reach(0.1, 10.0, log=True)
_REACHES = {
    "sampling_ratio": _DECADES,
    "noise_std": Reach(0.0, 2.0),
    "init_scale": Reach(1e-3, 3.0, log=True),
    "depth": Reach(2, 6),
    "level": _DECADES,
    "weight_decay": Reach(1e-4, 1.0, log=True, zero=True),
    "density": Reach(0.01, 1.0, log=True),
    "mean": Reach(-2.0, 2.0),
    "std": Reach(0.0, 3.0),
    "scale": _DECADES,
    "width": _DECADES,
    "margin": _DECADES,
    "slope": _DECADES,
    "fraction": Reach(0.0, 1.0),
    "outlier_std": Reach(0.0, 10.0),
    "step_size": Reach(1e-3, 1.0, log=True),
    "batch_fraction": Reach(0.01, 1.0, log=True),
    "label_noise_std": Reach(0.0, 2.0),
    "momentum": Reach(0.0, 0.99),
    "beta1": Reach(0.0, 0.999),
    "beta2": Reach(0.0, 0.9999),
    "epsilon": Reach(1e-10, 1e-2, log=True, zero=True),
}
_TIMES = Reach(1.0, 1000.0, log=True)
_STEPS = Reach(10, 1000, log=True)


@dataclass(frozen=True)
class Control:
    """One control of the page.

    name : dotted name of the setting. words : its last part in words. help : what it means.
    value : where it stands. choices : of a select, of text or of booleans; else `reach` is that
    of a slider, of whole numbers only if `whole`.
    """

    name: str
    words: str
    help: str
    value: Any
    choices: tuple[Any, ...] = ()
    reach: Reach | None = None
    whole: bool = False


def changed_table(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved tables of a file with settings of the page put in; a new kind starts afresh.

    A setting that the chosen kinds do not have is left out: the page does not show it either.

    Raises
    ------
    InputError : a kind that there is not.
    """
    table = copy.deepcopy(dict(base))
    for section in (*(f"problem.{name}" for name in _SECTIONS), "dynamics"):
        place, kind = _place(table, section), changes.get(f"{section}.{KIND}")
        if kind is not None and kind != place[KIND]:
            place.clear()
            place[KIND] = kind
    for control in list(_controls(table)):
        if control.name in changes:
            above, _, key = control.name.rpartition(".")
            _place(table, above)[key] = changes[control.name]
    return table


def _place(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table of a dotted name."""
    place: Any = table
    for part in name.split("."):
        place = place[part]
    found: dict[str, Any] = place
    return found


def controls_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The controls of tables, as JSON can hold them.

    Raises
    ------
    InputError : a kind that there is not.
    """
    return [asdict(control) for control in _controls(table)]


def _controls(table: Mapping[str, Any]) -> Iterator[Control]:
    problem = table["problem"]
    yield from _of_model(Problem, problem, "problem")
    for section in _SECTIONS:
        yield from _of_kind(tables(Problem)[section], problem[section], f"problem.{section}")
    dynamics = tables(Problem)["dynamics"]
    yield from _of_kind(dynamics, table["dynamics"], "dynamics")
    discrete = getattr(_member(dynamics, table["dynamics"], "dynamics"), "discrete", False)
    solver = tables(Config)["solver"].members[""]
    yield Control(
        STEPS_OR_TIME,
        "steps" if discrete else "time",
        explanations(solver)["t_max"],
        table["solver"]["t_max"],
        reach=_STEPS if discrete else _TIMES,
        whole=discrete,
    )


def _of_kind(table: Table, values: Mapping[str, Any], path: str) -> Iterator[Control]:
    member = _member(table, values, path)
    what = path.rpartition(".")[2]
    # A kind that must be given an array cannot be chosen on the page.
    kinds = tuple(
        kind
        for kind, model in table.members.items()
        if model is member or not any(f.is_required() for f in model.model_fields.values())
    )
    yield Control(f"{path}.{KIND}", what, f"kind of {what}", values[KIND], choices=kinds)
    yield from _of_model(member, values, path)


def _member(table: Table, values: Mapping[str, Any], path: str) -> type[Settings]:
    kind = values[KIND]
    if not isinstance(kind, str) or kind not in table.members:
        allowed = ", ".join(table.members)
        raise InputError(f"given {echo(kind)}, allowed: {allowed}", f"{path}.{KIND}")
    return table.members[kind]


def _of_model(model: type[Settings], values: Mapping[str, Any], path: str) -> Iterator[Control]:
    """Controls of the plain values of a model; those that a law or an array gives have none."""
    meanings = explanations(model)
    for key, field in model.model_fields.items():
        if key == KIND or key in tables(model):
            continue
        if key == "init_scale" and values.get("init_u") is not None:
            continue  # laws of the start are given in its place
        kind, choices = _plain(field)
        reach = _REACHES.get(key)
        if not choices and (kind is None or reach is None):
            continue
        value = values.get(key, field.default)
        words, text = key.replace("_", " "), meanings[key]
        yield Control(
            f"{path}.{key}", words, text, value, choices, None if choices else reach, kind is int
        )


def _plain(field: FieldInfo) -> tuple[type | None, tuple[Any, ...]]:
    """int or float of a number; the choices of text and booleans; neither of anything else."""
    annotation = field.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is bool:
        return None, (False, True)
    if get_origin(annotation) is Literal:
        return None, get_args(annotation)
    names: dict[Any, type] = {int: int, float: float}
    return names.get(annotation), ()
