"""`rebalance`: give laws other values by moving along the symmetries they come from.

The symmetry of squares is a scale, exp(w s) for the rows of a term of weight w; of Gram matrices an
invertible matrix, M for the terms with a plus and M^-T for those with a minus; of sums a shift.
The value of a law grows monotonously along its own symmetry, so that each is solved by Newton's
method. Symmetries change each other's laws: all are visited in turn until every value is right,
which is coordinate descent on a convex function (of Kempf and Ness).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.checks import check_model, check_precision
from dmft.conservation.models.forms import ModelLaw, Slot
from dmft.conservation.models.survey import ModelLaws
from dmft.errors import InputError, NotConverged

if TYPE_CHECKING:
    import torch

_TOLERANCE = 2e-14  # of a value, relative to what is added and subtracted in the law
_ROUNDS = 300
_NEWTON_STEPS = 60
_LARGEST_STEP = 1.0


def rebalance(model: torch.nn.Module, laws: ModelLaws, values: Mapping[str, Any]) -> int:
    """Move the weights so that laws have given values; the function of the model stays the same.

    Laws that are not named may change. Output sums are moved by a shift common to all logits,
    which changes the outputs, but not their softmax.

    Units: values are in squared parameters (of sums: in parameters).

    Parameters
    ----------
    model : in float64; changed in place.
    laws : of the model.
    values : by name of law, the quantities as `law.evaluate` orders them, or one number for all.

    Returns
    -------
    rounds : how often all laws were visited.

    Raises
    ------
    InputError : another precision, an unknown name or a wrong number of values.
    NotConverged : the values cannot be reached; the model is as before.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> from dmft.conservation import laws, rebalance
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).double()
    >>> found = laws(net)
    >>> x = torch.ones(1, 3).double()
    >>> before = net(x)
    >>> _ = rebalance(net, found, {"neurons 0-2": 0.0})
    >>> bool((net(x) - before).abs().max() < 1e-14)
    True
    """
    import torch

    check_model(model)
    check_precision(model, ["float64"], "rebalancing")
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    chosen = [(laws[name], _target(laws[name], value)) for name, value in values.items()]
    before = {name: p.clone() for name, p in parameters.items()}
    with torch.no_grad():
        try:
            return _visit_all(chosen, parameters)
        except BaseException:
            for name, p in parameters.items():
                p.copy_(before[name])
            raise


def _visit_all(chosen: Sequence[tuple[ModelLaw, Any]], parameters: Mapping[str, Any]) -> int:
    for done in range(_ROUNDS):
        if all(_is_there(law, target, parameters) for law, target in chosen):
            return done
        for law, target in chosen:
            _MOVES[law.form](law, target, parameters)
        if not all(bool(p.isfinite().all()) for p in parameters.values()):
            break
    names = ", ".join(law.name for law, _ in chosen)
    raise NotConverged(f"the given values cannot be reached by the symmetries of {names}")


def _target(law: ModelLaw, value: Any) -> Any:
    import torch

    given = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
    if given.numel() not in (1, law.entries):
        raise InputError(f"given {given.numel()} values, must be 1 or {law.entries}", law.name)
    if not bool(given.isfinite().all()):
        raise InputError("given a value that is not finite", law.name)
    if given.numel() == 1 and law.form == "gram":  # a multiple of the identity
        families, size = law.shape
        return torch.eye(size, dtype=torch.float64).expand(families, size, size) * given
    if law.form != "gram":
        return given.expand(law.entries).reshape(law.shape)
    families, size = law.shape
    matrix = torch.zeros(families, size, size, dtype=torch.float64)
    rows, columns = torch.triu_indices(size, size)
    matrix[:, rows, columns] = given.reshape(families, -1)
    matrix[:, columns, rows] = given.reshape(families, -1)
    return matrix


def _value(law: ModelLaw, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
    """The value of a law in its own shape, and the size of what is added and subtracted."""
    parts = law.parts(parameters)
    value = sum(w * p for w, p in zip(law.weights, parts, strict=True))
    if law.form == "sum":  # its own terms cancel
        parts = law.parts({name: parameters[name].abs() for name in law.parameters})
    return value, sum(abs(w) * p.abs() for w, p in zip(law.weights, parts, strict=True)).max()


def _is_there(law: ModelLaw, target: Any, parameters: Mapping[str, Any]) -> bool:
    value, size = _value(law, parameters)
    return bool((value - target).abs().max() <= _TOLERANCE * max(size, target.abs().max()))


def _write(slot: Slot, parameters: Mapping[str, Any], values: Any) -> None:
    """Put values where the slot reads them, also where its view is a copy."""
    import torch

    parameter = parameters[slot.name]
    places = slot.view(torch.arange(parameter.numel()).reshape(parameter.shape))
    parameter.view(-1)[places.reshape(-1)] = values.reshape(-1)


def _spread(factor: Any, x: Any) -> Any:
    """One number for each row as a factor of all entries of the rows."""
    return factor.reshape(factor.shape + (1,) * (x.ndim - factor.ndim))


def _scale(law: ModelLaw, target: Any, parameters: Mapping[str, Any]) -> None:
    """Solve sum of w exp(2 w s) |rows|^2 = target for s, row by row."""
    import torch

    parts = law.parts(parameters)
    s = torch.zeros_like(parts[0])
    for _ in range(_NEWTON_STEPS):
        grown = [
            (w, torch.exp(2 * w * s) * p) for w, p in zip(law.weights, parts, strict=True)
        ]  # fmt: skip
        excess = sum(w * p for w, p in grown) - target
        slope = sum(2 * w * w * p for w, p in grown).clamp_min(1e-300)
        step = (excess / slope).clamp(-_LARGEST_STEP, _LARGEST_STEP)
        s = s - step
        if float(step.abs().max()) < 1e-15:
            break
    for term in law.terms:
        x = term.slot.of(parameters)
        _write(term.slot, parameters, x * _spread(torch.exp(term.weight * s), x))


def _mix(law: ModelLaw, target: Any, parameters: Mapping[str, Any]) -> None:
    """Newton steps for M = exp(s): s (P + K) + (P + K) s = target - (P - K), s symmetric."""
    import torch

    for _ in range(_NEWTON_STEPS):
        parts = law.parts(parameters)
        total = sum(parts)
        lacking = target - sum(w * p for w, p in zip(law.weights, parts, strict=True))
        if float(lacking.abs().max()) <= _TOLERANCE / 4 * float(total.abs().max()):
            return
        roots, basis = torch.linalg.eigh(total)
        if float((roots[:, 0] / roots[:, -1]).min()) < 1e-12:
            raise NotConverged(
                f"{law.name}: its matrices lose rank on the way, the value cannot be reached"
            )
        inner = basis.mT @ lacking @ basis / (roots[:, :, None] + roots[:, None, :])
        s = basis @ inner @ basis.mT
        length = torch.linalg.matrix_norm(s, 2)[:, None, None]
        s = s * (_LARGEST_STEP / 2 / length).clamp_max(1.0)
        rates, axes = torch.linalg.eigh(s)  # one basis for both: the product is 1 to rounding
        for term in law.terms:
            grown = torch.exp(term.weight * rates)
            matrix = (axes * grown[:, None, :] @ axes.mT)[:, None]
            _write(term.slot, parameters, matrix @ term.slot.of(parameters))


def _shift(law: ModelLaw, target: Any, parameters: Mapping[str, Any]) -> None:
    """Add the same to all entries of a row."""
    value, _ = _value(law, parameters)
    slots = [(term, term.slot.of(parameters)) for term in law.terms]
    count = sum(t.weight**2 * x.numel() / max(value.numel(), 1) for t, x in slots)
    step = (target - value) / count
    for term, x in slots:
        _write(term.slot, parameters, x + term.weight * _spread(step, x))


_MOVES = {"squares": _scale, "gram": _mix, "sum": _shift}
