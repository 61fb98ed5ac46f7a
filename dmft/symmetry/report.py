"""What `dmft symmetry track` returns: charges of runs or of checkpoints, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.symmetry.checkpoints import Points
from dmft.symmetry.exponential import ExponentialSymmetry, Symmetries
from dmft.symmetry.tracker import expected_drift, integrated
from dmft.symmetry.training import Run, Training

_ROWS = 10
_LARGEST = 0.2  # residual of checkpoints that a prediction may leave, in units of the charge


@dataclass(frozen=True, eq=False)
class Report:
    """Charges of R runs at T steps.

    step : shape (T,).
    methods : how each run was trained, or where its checkpoints come from.
    names : of the K symmetries.
    charge, predicted : shape (T, R, K); predicted from the first charge by the exact recursion,
        of checkpoints by the mean drift between them.
    size : scale of each charge, sum_i |mu_i| (n_i . theta)^2, same shape.
    loss, sharpness : shape (T, R), or None of checkpoints.
    ends : first and last parameters, shape (2, R, P), or None of checkpoints.
    status, reason : "done" or "not-converged".
    settings : where all this comes from.
    """

    step: np.ndarray
    methods: tuple[str, ...]
    names: tuple[str, ...]
    charge: np.ndarray
    predicted: np.ndarray
    size: np.ndarray
    loss: np.ndarray | None = None
    sharpness: np.ndarray | None = None
    ends: np.ndarray | None = None
    status: str = "done"
    reason: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def residual(self) -> np.ndarray:
        """(charge - predicted) / size, shape (T, R, K)."""
        return np.asarray((self.charge - self.predicted) / np.where(self.size > 0, self.size, 1.0))

    @property
    def spread(self) -> np.ndarray:
        """Root mean square of the charges over the symmetries, shape (T, R)."""
        return np.asarray(np.sqrt((self.charge**2).mean(axis=-1)))

    def of_method(self, method: str) -> np.ndarray:
        """Numbers of the runs of a method."""
        return np.flatnonzero([known == method for known in self.methods])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "status": self.status,
            "reason": self.reason,
            "methods": list(self.methods),
            "symmetries": list(self.names),
            "step": self.step,
            "charge": self.charge,
            "predicted_charge": self.predicted,
            "largest_residual": np.abs(self.residual).max(),
            "loss": self.loss,
            "sharpness": self.sharpness,
        }

    def table(self) -> str:
        """Charge and residual at about ten steps, runs of a method averaged."""
        shown = np.unique(np.linspace(0, len(self.step) - 1, _ROWS).round().astype(int))
        lines = []
        for method in dict.fromkeys(self.methods):
            runs = self.of_method(method)
            head = f"{'step':>10}  {'rms charge':>11}  {'residual':>9}"
            if self.loss is not None:
                head += f"  {'loss':>10}  {'sharpness':>10}"
            lines += [f"{method}: {len(runs)} run(s), {len(self.names)} charge(s)", head]
            for t in shown:
                line = f"{self.step[t]:>10.6g}  {self.spread[t, runs].mean():>11.4e}"
                line += f"  {np.abs(self.residual[t, runs]).max():>9.1e}"
                if self.loss is not None and self.sharpness is not None:
                    line += f"  {self.loss[t, runs].mean():>10.4g}"
                    line += f"  {self.sharpness[t, runs].mean():>10.4g}"
                lines.append(line)
        return "\n".join(lines)


def of_runs(runs: Sequence[Run], settings: dict[str, Any]) -> Report:
    """Runs of several methods side by side, up to where the first of them diverged."""
    length = min(len(run.step) for run in runs)
    failed = [f"{run.training.method} {run.reason}" for run in runs if run.status != "done"]

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([array[:length] for array in arrays], axis=1)

    methods = [run.training.method for run in runs for _ in range(run.theta.shape[1])]
    return Report(
        runs[0].step[:length], tuple(methods), runs[0].charges.names,
        charge=joined([run.charges.charge for run in runs]),
        predicted=joined([run.charges.predicted for run in runs]),
        size=joined([run.charges.size for run in runs]),
        loss=joined([run.loss for run in runs]),
        sharpness=joined([run.sharpness for run in runs]),
        ends=joined([run.theta[[0, -1]] for run in runs]) if length > 1 else None,
        status="not-converged" if failed else "done", reason="; ".join(failed), settings=settings,
    )  # fmt: skip


def of_points(
    points: Points,
    symmetries: Sequence[ExponentialSymmetry],
    training: Training,
    settings: dict[str, Any],
    tolerance: float | None = None,
) -> Report:
    """Charges of checkpoints, and what their per-sample gradients predict for them.

    Raises
    ------
    InputError : fewer than two checkpoints, or a loss without one of the symmetries.
    """
    if len(points) < 2:
        raise InputError("given 1 checkpoint, must be at least 2 to track")
    stack = Symmetries(symmetries)
    charge, drift, size = [], [], []
    for point in points:
        for symmetry in symmetries:
            validate_at(symmetry, point, tolerance)
        charge.append(stack.charges(point.theta))
        size.append(stack.sizes(point.theta))
        drift.append(
            expected_drift(
                stack, point.theta, point.gradients, step_size=training.step_size,
                batch_size=training.batch_size, weight_decay=training.weight_decay,
                momentum=training.momentum, nesterov=training.nesterov,
            )
        )  # fmt: skip
    predicted = integrated(points.step, np.array(drift), charge[0])
    report = Report(
        points.step, ("checkpoints",), stack.names, np.array(charge)[:, None], predicted[:, None],
        np.array(size)[:, None], settings=settings,
    )  # fmt: skip
    worst = float(np.abs(report.residual).max())
    if worst <= _LARGEST:
        return report
    reason = (
        f"the prediction misses the charges by {worst:.2g} of their size: not SGD with this"
        " step_size, batch_size, momentum and weight_decay, or checkpoints too far apart"
    )
    return replace(report, status="not-converged", reason=reason)


def validate_at(symmetry: ExponentialSymmetry, point: Any, tolerance: float | None) -> float:
    """`ExponentialSymmetry.validate` at a checkpoint, which an error names."""
    try:
        return symmetry.validate(point.theta, point.gradients, tolerance)
    except InputError as error:
        raise InputError(f"{error.location}: {error.message}", point.name) from None
