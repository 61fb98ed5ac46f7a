"""What every phenomenon returns, and how its figure is drawn."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#000000"]


@dataclass(frozen=True)
class Check:
    """A number, the range it has to be in, and what it is."""

    what: str
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        return bool(self.low <= self.value <= self.high)


@dataclass
class Outcome:
    """A reproduced phenomenon: its paragraph, its numbers and its figure."""

    title: str
    paragraph: str
    config: dict[str, Any]
    figure: Path
    checks: list[Check] = field(default_factory=list)

    def check(self, what: str, value: float, low: float, high: float) -> None:
        """Record a number and the range it must be in."""
        self.checks.append(Check(what, float(value), low, high))

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def new_figure(columns: int, title: str, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Rows of axes under a title, counted row by row."""
    figure = Figure(figsize=(5.2 * columns, 4.2 * rows), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for each in axes:
        each.grid(alpha=0.25)
    return figure, axes


def colours(count: int) -> list[tuple[float, ...]]:
    """Colours for an ordered family of curves, dark to light, safe for the colour-blind."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * i / max(count - 1, 1)) for i in range(count)]


def print_outcome(outcome: Outcome) -> None:
    """The numbers as lines of text."""
    print(outcome.title)
    for check in outcome.checks:
        mark = "ok  " if check.passed else "FAIL"
        bounds = f"[{check.low:.4g}, {check.high:.4g}]"
        print(f"  {mark} {check.what}: {check.value:.4g} in {bounds}")


def run_limited(run: Callable[[bool, Path], Outcome], full: bool, figure: Path) -> Outcome:
    """A phenomenon with linear algebra on one thread: its matrices are small, and threads that wait
    for each other on a busy machine take a hundred times as long."""
    with threadpool_limits(1):
        return run(full, figure)


def run_alone(run: Callable[[bool, Path], Outcome], name: str, description: str | None) -> None:
    """The command line of one script: exit status 1 if a number is out of its range."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="full size instead of small")
    parser.add_argument("-o", "--output", type=Path, default=Path(f"{name}.png"))
    arguments = parser.parse_args()
    outcome = run_limited(run, arguments.full, arguments.output)
    print_outcome(outcome)
    print(f"figure in {outcome.figure}")
    raise SystemExit(0 if outcome.passed else 1)
