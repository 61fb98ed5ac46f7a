"""A solver that does next to nothing, for tests of what surrounds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dmft.errors import Interrupted
from dmft.progress import Progress
from dmft.settings import SolverSettings


class FakeSolver:
    """Marches over `panels`; its state is a sum that is wrong if a panel is lost or repeated.

    `before_panel(panel)` is called before each; `calls` records the arguments of each solve.
    """

    panels = 6

    def __init__(self, make_solution: Callable[..., Any]) -> None:
        self.make_solution = make_solution
        self.changes: dict[str, Any] = {}
        self.before_panel: Callable[[int], None] = lambda panel: None
        self.calls: list[dict[str, Any]] = []

    def __call__(self, problem: Any, **options: Any) -> Any:
        self.calls.append(options)
        resumed = options["resume"] or {"panel": 0, "sums": {"total": np.zeros(3)}}
        panel, total = resumed["panel"], resumed["sums"]["total"]
        while panel < self.panels:
            self.before_panel(panel)
            if options["stop"]():
                options["checkpoint"]({"panel": panel, "sums": {"total": total}})
                raise Interrupted("asked to stop")
            panel, total = panel + 1, total * 3 + panel
            options["checkpoint"]({"panel": panel, "sums": {"total": total}})
            if options["progress"] is not None:
                options["progress"](
                    Progress(
                        fraction=panel / self.panels,
                        stage="replicate 1/1",
                        replicate=0,
                        replicates=1,
                        time=panel / 2,
                        t_max=self.panels / 2,
                        error=1e-3,
                        sweeps=4,
                        seconds_left=None if panel == 1 else 3.0,
                    )
                )
        options["keep"]({"panel": panel, "sums": {"total": total}})
        fields = SolverSettings.model_fields
        settings = SolverSettings(**{key: options[key] for key in fields})
        work = {"total": float(total[0])}
        return self.make_solution(
            **{"problem": problem, "settings": settings, "work": work, **self.changes}
        )


@pytest.fixture
def fake_solver(monkeypatch, make_solution) -> FakeSolver:
    solver = FakeSolver(make_solution)
    monkeypatch.setattr("dmft.solver.solve", solver, raising=False)
    return solver
