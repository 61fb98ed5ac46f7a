"""`track(model, optimizer)`: the drift of every law during training, and what explains it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.conservation.models.checks import check_model, check_precision
from dmft.conservation.models.forms import ModelLaw
from dmft.conservation.models.measures import control, inverse, size_of, weighted_sum
from dmft.conservation.models.record import CURVES, Record
from dmft.conservation.models.survey import ModelLaws
from dmft.conservation.models.updates import Prediction, Rule, rule_of
from dmft.conservation.models.walk import laws as structural_laws
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch


def track(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    laws: ModelLaws | None = None,
    every: int = 1,
) -> Tracker:
    """Follow the laws of a model while it is trained.

    Every `optimizer.step()` from now on is measured: the drift of each law since the start, what
    the applied changes explain of it (all but rounding, for any optimiser), what its settings and
    gradients alone forecast (see `updates`), and the drift of equally shaped quantities that are
    not conserved. Close the tracker, or use it in a `with` block, to stop.

    Units: drifts are in squared parameters (of sums: in parameters), time in steps of the
    optimiser.

    Parameters
    ----------
    model : in float32 or float64.
    optimizer : of its parameters.
    laws : by default those of `laws(model)`.
    every : steps between two records; predictions take every step into account.

    Raises
    ------
    InputError : half precision, no laws, or parameters that the optimiser does not have.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double()
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> with track(net, sgd) as tracker:
    ...     for _ in range(5):
    ...         sgd.zero_grad()
    ...         (net(torch.ones(4, 2).double()) - 1.0).square().mean().backward()
    ...         sgd.step()
    >>> record = tracker.record()
    >>> bool(record.residual.max() < 1e-15), record.steps.tolist()
    (True, [0, 1, 2, 3, 4, 5])
    """
    return Tracker(model, optimizer, laws=laws, every=every)


class Tracker:
    """Measures laws around every step of an optimiser; see `track`."""

    def __init__(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, *,
        laws: ModelLaws | None = None, every: int = 1,
    ) -> None:  # fmt: skip
        check_model(model)
        check_precision(model, ["float32", "float64"], "tracking")
        if every < 1:
            raise InputError(f"given {every}, must be at least 1", "every")
        self.laws = structural_laws(model) if laws is None else laws
        if not len(self.laws):
            raise InputError("given a model without recognised laws", "model")
        self.optimizer = optimizer
        self.every = every
        everything = dict(model.named_parameters())
        used = {name for law in self.laws for name in law.parameters}
        self.parameters = {name: everything[name] for name in everything if name in used}
        self._groups = self._find_groups()
        self._predictions = [Prediction(law) for law in self.laws]
        self._rows: list[Any] = []
        self._steps: list[int] = []
        self.step = 0
        self._start()
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Stop measuring."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def record(self) -> Record:
        """Everything measured so far."""
        rows = np.array([row.numpy() for row in self._rows])
        curves = {name: rows[:, i] for i, name in enumerate(CURVES)}
        return Record(
            steps=np.array(self._steps),
            names=tuple(law.name for law in self.laws),
            formulas=tuple(law.formula for law in self.laws),
            counts=np.array([law.count for law in self.laws]),
            model=self.laws.model,
            optimizer=type(self.optimizer).__name__,
            settings=[
                {key: value for key, value in group.items() if _is_plain(value)}
                for group in self.optimizer.param_groups
            ],
            mixed=tuple(law.name for law in self.laws if not self._uniform(law)),
            precision=str(next(iter(self.parameters.values())).dtype).removeprefix("torch."),
            **curves,
        )

    # --- measuring

    def _find_groups(self) -> dict[str, Mapping[str, Any]]:
        groups = {
            id(parameter): group
            for group in self.optimizer.param_groups
            for parameter in group["params"]
        }
        found: dict[str, Mapping[str, Any]] = {}
        for name, parameter in self.parameters.items():
            if id(parameter) not in groups:
                raise InputError(f"given one that does not train {name}", "optimizer")
            found[name] = groups[id(parameter)]
        return found

    def _rule(self, law: ModelLaw) -> Rule:
        return rule_of(self.optimizer, self._groups[law.parameters[0]])

    def _uniform(self, law: ModelLaw) -> bool:
        """Whether all parameters of a law are updated by the same rule."""
        return len({rule_of(self.optimizer, self._groups[n]) for n in law.parameters}) == 1

    def _start(self) -> None:
        import torch

        with torch.no_grad():
            values, controls = self._measure(self.parameters)
            # The mean size of what is added and subtracted, which rounding errors scale with.
            self._size = [size_of(law, self.parameters) for law in self.laws]
        self._first = [(value, inverse(value)) for value in values]
        self._first_control = [None if c is None else (c, inverse(c)) for c in controls]
        self._values = values
        self._explained = [torch.zeros_like(value) for value in values]
        self._forecast = [torch.zeros_like(value) for value in values]
        self._decay = [1.0 for _ in values]
        self._worst = torch.zeros(len(values), dtype=torch.float64)
        self._missed = torch.zeros(len(values), dtype=torch.float64)
        self._versions = self._version()
        self._note(controls)

    def _version(self) -> list[int]:
        return [parameter._version for parameter in self.parameters.values()]

    def _measure(self, tensors: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """Laws, and equally shaped quantities that are not conserved."""
        values, controls = [], []
        for law in self.laws:
            parts = law.parts(tensors)
            values.append(law.flatten(weighted_sum(parts, law.weights)))
            controls.append(control(law, tensors, parts))
        return values, controls

    def _at(self, tensors: Mapping[str, Any]) -> list[Any]:
        """Quadratic laws at other vectors than the parameters; linear ones are zero there."""
        return [law.evaluate(tensors) if law.degree == 2 else None for law in self.laws]

    def _before(self, *_: Any) -> None:
        import torch

        with torch.no_grad():
            if self._version() != self._versions:  # changed by somebody else
                self._values = [law.evaluate(self.parameters) for law in self.laws]
            self._rules = [self._rule(law) for law in self.laws]
            self._copy = {name: p.clone() for name, p in self.parameters.items()}

    def _gradients(self) -> dict[str, Any]:
        import torch

        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in self.parameters.items()
        }

    def _after(self, *_: Any) -> None:
        import torch

        with torch.no_grad():
            self.step += 1
            noted = self.step % self.every == 0
            if noted:
                values, controls = self._measure(self.parameters)
            else:
                values, controls = [law.evaluate(self.parameters) for law in self.laws], []
            exact = self._exact(values)
            expected = self._expected()
            for i, (value, change, forecast) in enumerate(
                zip(values, exact, expected, strict=True)
            ):
                before = self._values[i]
                self._explained[i] = self._explained[i] + change
                self._forecast[i] = self._forecast[i] + (forecast - before)
                self._decay[i] = self._predictions[i].decay(self._rules[i])
                for worst, error in (
                    (self._worst, value - before - change), (self._missed, value - forecast),
                ):  # fmt: skip
                    size = error.abs().max() / self._size[i]
                    worst[i] = torch.maximum(worst[i], size.double().cpu())
            self._values = values
            self._versions = self._version()
            if noted:
                self._note(controls)

    def _exact(self, values: list[Any]) -> list[Any]:
        """2 B(theta, u) + h(u) for the change u that was really applied, whatever made it."""
        change = {name: p - self._copy[name] for name, p in self.parameters.items()}
        back = {name: p - change[name] for name, p in self._copy.items()}
        found = []
        for law, value in zip(self.laws, values, strict=True):
            at_change = law.evaluate(change)
            if law.degree == 2:  # h(theta + u) - h(theta - u) is four times the bilinear form
                at_change = at_change + (value - law.evaluate(back)) / 2
            found.append(at_change)
        return found

    def _expected(self) -> list[Any]:
        """What the settings and the gradients alone forecast; a closure's are its last ones."""
        kinds = {rule.kind for rule in self._rules}
        self._gradient = self._at(self._gradients()) if "sgd" in kinds else []
        velocity = self._at(self._velocities()) if "momentum" in kinds else []
        step, between = self._nesterov() if "nesterov" in kinds else ([], [])
        change = self._at(self._changes()) if "other" in kinds else []
        expected = []
        for i, (rule, prediction) in enumerate(zip(self._rules, self._predictions, strict=True)):
            value = self._values[i]
            if rule.kind == "sgd":
                expected.append(prediction.of_gradient(rule, value, self._gradient[i]))
            elif rule.kind == "momentum":
                expected.append(prediction.of_velocity(rule, value, velocity[i]))
            elif rule.kind == "nesterov":
                expected.append(prediction.of_nesterov(rule, value, step[i], between[i]))
            else:
                expected.append(prediction.of_change(rule, value, change[i]))
        return expected

    def _nesterov(self) -> tuple[list[Any], list[Any]]:
        """Quadratic laws at u = g + lambda theta + mu v, and their bilinear forms with v."""
        velocities, gradients = self._velocities(), self._gradients()
        steps = {}
        for name, velocity in velocities.items():
            group = self._groups[name]
            pull = -gradients[name] if group["maximize"] else gradients[name]
            pull = pull.add(self._copy[name], alpha=group["weight_decay"])
            steps[name] = pull.add(velocity, alpha=group["momentum"])
        plus = self._at({name: u + velocities[name] for name, u in steps.items()})
        minus = self._at({name: u - velocities[name] for name, u in steps.items()})
        between = [None if p is None else (p - m) / 4 for p, m in zip(plus, minus, strict=True)]
        return self._at(steps), between

    def _velocities(self) -> dict[str, Any]:
        import torch

        found = {}
        for name, parameter in self.parameters.items():
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            found[name] = torch.zeros_like(parameter) if buffer is None else buffer
        return found

    def _changes(self) -> dict[str, Any]:
        """delta = theta' - f theta; overwrites the copy of the parameters."""
        for name, parameter in self.parameters.items():
            factor = rule_of(self.optimizer, self._groups[name]).factor
            self._copy[name].mul_(-factor).add_(parameter)
        return self._copy

    def _note(self, controls: list[Any]) -> None:
        import torch

        rows = []
        for i, value in enumerate(self._values):
            size, (first, inverse) = self._size[i], self._first[i]
            change = value - first
            moved = change.abs()
            entries = [
                moved.mean() / size,
                (moved * inverse).sum(),
                self._explained[i].abs().mean() / size,
                (change - self._explained[i]).abs().max() / size,
                (value / self._decay[i] - first).abs().mean() / size,
            ]
            before = self._first_control[i]
            if before is None:
                entries += [torch.full_like(size, torch.nan)] * 2
            else:
                first, inverse = before
                moved = (controls[i] - first).abs()
                entries += [moved.mean() / size, (moved * inverse).sum()]
            entries += [self._worst[i].to(size), self._forecast[i].abs().mean() / size]
            rows.append(torch.stack([*entries, self._missed[i].to(size)]))
        self._worst = torch.zeros_like(self._worst)
        self._missed = torch.zeros_like(self._missed)
        self._rows.append(torch.stack(rows, dim=1).double().cpu())
        self._steps.append(self.step)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str)) or value is None
