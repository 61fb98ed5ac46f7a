"""How long panels are: the control by itself, on marches whose errors are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from dmft.problem import Problem
from dmft.solver.panel_rows import Attempt
from dmft.solver.pilot import StepControl, adaptive_panels
from dmft.solver.small_kernels import is_causal


@dataclass
class Errors:
    """A march whose panels have the error constant * step^4."""

    constant: float
    time: float = 0.0
    rows: list[Any] = field(default_factory=list)
    tries: int = 0
    root_variance: Any = field(default_factory=lambda: np.ones(1))
    first_slope: Any = field(default_factory=lambda: np.ones(1))

    def attempt(self, step, active=None):
        self.tries += 1
        error = self.constant * step**4
        return Attempt(step, 2, error, True)

    def commit(self, rows):
        self.time += rows
        self.rows.append(rows)


def test_first_panels_follow_the_tolerance():
    """Like the root of the order: its error then is the same share of the tolerance."""
    steps = [StepControl(Problem(), Errors(1.0), rtol).step for rtol in (1e-1, 1e-5)]
    assert steps[0] / steps[1] == pytest.approx(10.0)


def test_a_last_panel_is_a_little_longer_but_no_other_follows():
    for t_max, panels in [(10.1, 10), (10.3, 11)]:
        march = Errors(1e-3)  # panels of length 1
        control = StepControl(Problem(), march, 1e-3)
        control.step = 1.0
        for _ in adaptive_panels(march, control, t_max):
            pass
        assert march.time == pytest.approx(t_max)
        assert len(march.rows) <= panels
        assert max(march.rows) < 1.16
        assert march.tries == len(march.rows)


def test_causal_roots_are_those_with_a_spectrum_in_the_right_half_plane():
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((3000, 3, 3)) * rng.choice([0.3, 1.0, 3.0], (3000, 1, 1))
    causal = np.linalg.eigvals(matrices).real.max(axis=1) < 1.0
    assert 0.3 < causal.mean() < 0.7
    assert [is_causal(matrix) for matrix in matrices] == list(causal)
