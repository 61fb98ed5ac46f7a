"""Two runs side by side: differences of their measures in standard errors, and of their maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.trajectory.measures import Trajectory
from dmft.trajectory.scalars import SCALARS


@dataclass(frozen=True)
class Comparison:
    """Differences "second minus first".

    Attributes
    ----------
    first, second : (value, standard error) of each scalar.
    difference : name to (difference, its standard error, z-score); None where undefined.
    step : steps that both maps have.
    map_difference : difference of the trajectory maps there; None with fewer than two.
    map_stderr : its standard error, None if one of the two has none.
    """

    first: dict[str, tuple[float | None, float | None]]
    second: dict[str, tuple[float | None, float | None]]
    difference: dict[str, tuple[float | None, float | None, float | None]]
    step: np.ndarray
    map_difference: np.ndarray | None
    map_stderr: np.ndarray | None

    @property
    def largest_score(self) -> float | None:
        """Largest difference of the maps in its standard errors; None without errors."""
        if self.map_difference is None or self.map_stderr is None:
            return None
        upper = np.triu_indices(len(self.step), 1)
        error, difference = self.map_stderr[upper], self.map_difference[upper]
        known = error > 0.0
        return float(np.max(np.abs(difference[known]) / error[known], initial=0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        gap = None if self.map_difference is None else float(np.abs(self.map_difference).max())
        table = {
            name: {
                "first": self.first[name][0],
                "second": self.second[name][0],
                "difference": difference,
                "stderr": error,
                "z": score,
            }
            for name, (difference, error, score) in self.difference.items()
        }
        return {
            "scalars": table,
            "common_checkpoints": len(self.step),
            "largest_map_difference": gap,
            "largest_map_z": self.largest_score,
        }

    def table(self) -> str:
        """One line per scalar, for people."""
        head = ("measure", "first", "second", "difference", "stderr", "z")
        lines = [f"{head[0]:<30}" + "".join(f"{word:>13}" for word in head[1:])]
        for name, (difference, error, score) in self.difference.items():
            numbers = (self.first[name][0], self.second[name][0], difference, error, score)
            cells = ("-" if number is None else f"{number:.4g}" for number in numbers)
            lines.append(f"{name.replace('_', ' '):<30}" + "".join(f"{c:>13}" for c in cells))
        if self.map_difference is not None:
            gap = np.abs(self.map_difference).max()
            text = f"maps differ by at most {gap:.3g} at {len(self.step)} common checkpoints"
            if self.largest_score is not None:
                text += f", {self.largest_score:.1f} standard errors"
            lines.append(text)
        return "\n".join(lines)


def compare_trajectories(first: Trajectory, second: Trajectory) -> Comparison:
    """Compare two trajectories; their maps at the steps that both have.

    Raises
    ------
    InputError : trajectories of which one has no direction at all.
    """
    a, b = first.map(), second.map()
    step = np.intersect1d(first.step[a.points], second.step[b.points])
    difference = error = None
    if len(step) >= 2:
        i = np.searchsorted(first.step[a.points], step)
        j = np.searchsorted(second.step[b.points], step)
        difference = b.values[np.ix_(j, j)] - a.values[np.ix_(i, i)]
        if a.stderr is not None and b.stderr is not None:
            error = np.hypot(a.stderr[np.ix_(i, i)], b.stderr[np.ix_(j, j)])
    return Comparison(
        first.scalars,
        second.scalars,
        {name: _difference(first.scalars[name], second.scalars[name]) for name in SCALARS},
        step,
        difference,
        error,
    )


def _difference(
    first: tuple[float | None, float | None], second: tuple[float | None, float | None]
) -> tuple[float | None, float | None, float | None]:
    if first[0] is None or second[0] is None:
        return None, None, None
    difference = second[0] - first[0]
    if first[1] is None or second[1] is None:
        return difference, None, None
    error = float(np.hypot(first[1], second[1]))
    return difference, error, difference / error if error > 0.0 else None
