"""The problems of the races and when a curve counts as accurate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dmft.problem import Problem
from dmft.problem.dynamics import GradientFlow
from dmft.problem.labels import SignLabels
from dmft.problem.losses import Logistic
from dmft.problem.networks import Diagonal
from dmft.problem.teachers import Gaussian

POINTS = 20


@dataclass(frozen=True)
class Case:
    """A problem, the times at which a curve is compared, and the sizes that are measured.

    title, problem : what is solved.
    first_time, t_max : ends of the times of comparison; learning begins after the first.
    reference : settings of the converged solve that errors are measured against.
    paths, tolerances, seeds : n_paths, rtol and number of seeds of the solver's ladder.
    step : the longest step with which the classical algorithm is stable.
    horizon, bias_horizon : times up to which it is run, t_max being out of its reach; the latter
        with many paths, to see the bias of its steps.
    dimensions : of the ensembles.
    targets : relative errors of the curve, root mean square over times and seeds.
    curves : those that are recorded.
    judged : those of them that must be accurate, the worst counts; all if empty.
    same_as : the case whose measurements it shares, itself if empty.
    rivals : contestants beside the solver.
    suite : the suite of `dmft bench` that it belongs to.
    """

    name: str
    title: str
    problem: Problem
    first_time: float
    t_max: float
    reference: dict[str, float]
    paths: tuple[int, ...]
    tolerances: tuple[float, ...]
    seeds: int
    step: float
    horizon: float
    bias_horizon: float
    dimensions: tuple[int, ...] = (250, 500, 1000, 2000)
    targets: tuple[float, ...] = (0.01, 0.005)
    curves: tuple[str, ...] = ("excess_risk",)
    judged: tuple[str, ...] = ()
    same_as: str = ""
    rivals: tuple[str, ...] = ("classical", "ensemble")
    suite: str = "time-to-accuracy"

    @property
    def times(self) -> np.ndarray:
        """The times of comparison, shape (POINTS,)."""
        times = np.geomspace(self.first_time, self.t_max, POINTS)
        times[-1] = self.t_max  # not a rounding error later
        return times

    @property
    def label(self) -> str:
        """Under which its measurements are kept."""
        return self.same_as or self.name

    @property
    def judged_curves(self) -> tuple[str, ...]:
        """The curves that must be accurate."""
        return self.judged or self.curves

    def chosen(self, recorded: object) -> np.ndarray:
        """Of recorded curves (curve, time) those that must be accurate."""
        rows = [self.curves.index(name) for name in self.judged_curves]
        return np.asarray(recorded, dtype=float)[rows]


def _settings(n_paths: int, replicates: int, rtol: float) -> dict[str, float]:
    return {"n_paths": n_paths, "replicates": replicates, "rtol": rtol}


# Separable classes. Nothing leaves a small start before t = 1, and what weights there are then is
# on a few coordinates in a million: their squares are compared from where the loss moves.
_C0 = Case(
    name="C0",
    title="logistic loss, signs of the default teacher, to t = 100",
    problem=Problem(loss=Logistic(), labels=SignLabels(), noise_std=0.0),
    first_time=0.1,
    t_max=1e2,
    reference=_settings(16384, 4, 1e-3),
    paths=(512, 1024, 2048, 4096, 8192, 16384),
    tolerances=(1e-2, 3e-3, 1e-3),
    seeds=6,
    step=0.2,
    horizon=12.8,
    bias_horizon=6.4,
    dimensions=(250, 500, 1000),
    targets=(0.01,),
    curves=("train_loss", "test_error", "squared_norm"),
    suite="classification",
)
_C2 = replace(
    _C0,
    name="C2",
    title="the same from a small start, alpha = 0.01, to t = 100",
    problem=Problem(
        loss=Logistic(), labels=SignLabels(), noise_std=0.0, network=Diagonal(init_scale=0.01)
    ),
    first_time=2.0,
    rivals=("ensemble",),
)
_CLASSIFICATION = (
    _C0,
    replace(_C0, name="C1", title=_C0.title.replace("100", "1e4"), t_max=1e4),
    _C2,
    replace(_C2, name="C3", title=_C2.title.replace("100", "1e4"), t_max=1e4),
)
CASES = {
    case.name: case
    for case in (
        Case(
            name="P0",
            title="default problem to t = 24",
            problem=Problem(),
            first_time=0.024,
            t_max=24.0,
            reference=_settings(32768, 4, 3e-4),
            paths=(128, 256, 512, 1024, 2048, 4096),
            tolerances=(3e-2, 1e-2),
            seeds=8,
            step=0.08,
            horizon=24.0,
            bias_horizon=3.2,
        ),
        Case(
            name="P1",
            title="small start, alpha = 0.01, to t = 1e4",
            problem=Problem(network=Diagonal(init_scale=0.01)),
            first_time=1.0,
            t_max=1e4,
            reference=_settings(32768, 4, 3e-3),
            paths=(1024, 2048, 2560, 3072, 4096, 8192, 16384),
            tolerances=(3e-2, 1e-2),
            seeds=8,
            step=0.08,
            horizon=24.0,
            bias_horizon=12.0,
            dimensions=(250, 500, 1000),
        ),
        Case(
            name="P2",
            title="weight decay 1e-3 from alpha = 1 (grokking) to t = 1e4",
            problem=Problem(
                network=Diagonal(init_scale=1.0), dynamics=GradientFlow(weight_decay=1e-3)
            ),
            first_time=0.1,
            t_max=1e4,
            reference=_settings(8192, 4, 3e-3),
            paths=(1024, 2048, 4096, 8192),
            tolerances=(1e-2,),
            seeds=4,
            step=0.04,
            horizon=24.0,
            bias_horizon=3.2,
            dimensions=(250, 500, 1000),
        ),
        Case(
            name="P3",
            title="delta = 1.2, Gaussian teacher, to convergence at t = 1000",
            problem=Problem(sampling_ratio=1.2, teacher=Gaussian()),
            first_time=0.03,
            t_max=1e3,
            reference=_settings(16384, 4, 1e-3),
            paths=(128, 256, 512, 1024, 2048, 4096),
            tolerances=(3e-2, 1e-2),
            seeds=8,
            step=0.08,
            horizon=24.0,
            bias_horizon=3.2,
        ),
        *_CLASSIFICATION,
        *(
            replace(
                case,
                name=f"{case.name}-loss",
                title=f"{case.name}, train_loss alone",
                judged=("train_loss",),
                same_as=case.name,
            )
            for case in _CLASSIFICATION
        ),
    )
}


def quick(case: Case) -> Case:
    """A small relative of a case, to see that everything works: its figures mean nothing."""
    return replace(
        case,
        t_max=min(case.t_max, 24.0),
        reference=_settings(2048, 2, 3e-3),
        paths=case.paths[:2],
        tolerances=(1e-2,),
        seeds=3,
        horizon=3.2,
        bias_horizon=3.2,
        dimensions=(60, 120, 240),
        targets=tuple(10.0 * target for target in case.targets),
    )


def rms_error(found: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Relative error, root mean square over seeds (first axis) and times (last), and its error.

    Of several curves (seed, curve, time) the error is that of the worst.
    """
    squares = np.mean((np.asarray(found) / reference - 1.0) ** 2, axis=-1)
    if squares.ndim > 1:
        squares = squares[:, int(np.argmax(squares.mean(axis=0)))]
    root = float(np.sqrt(squares.mean()))
    if len(squares) < 2:
        return root, float("nan")
    # The error of a mean square, carried over to its root.
    return root, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2.0 * root))
