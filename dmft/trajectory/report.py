"""A trajectory with the scalars of its groups: what the commands save, print and draw."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.blocks import Factors
from dmft.trajectory.gram import Grams
from dmft.trajectory.groups import Grouping
from dmft.trajectory.measures import Map, Trajectory
from dmft.trajectory.projections import Projections
from dmft.trajectory.scalars import SCALARS

# (value, standard error) of each scalar; None where undefined.
Scalars = Mapping[str, tuple[float | None, float | None]]
# Zero norms everywhere leave the map without rows.
_NOTHING = Map(np.zeros(0, int), np.zeros((0, 0)), None)


@dataclass(frozen=True)
class Group:
    """One tensor, layer, head, ...: its size and (value, standard error) of each scalar."""

    name: str
    parameters: int
    scalars: Scalars


@dataclass(frozen=True, eq=False)
class Report:
    """A trajectory and the scalars of its groups.

    Attributes
    ----------
    path : the whole trajectory.
    source : where the checkpoints are.
    checkpoints : their names.
    grouping : what the groups are, "" without any.
    groups : in the order of the tensors.
    skipped, tied : names of tensors that are not counted, with the reason or counted already.
    notes : what was taken for what, see `series.Series`.
    """

    path: Trajectory
    source: str
    checkpoints: tuple[str, ...] = ()
    grouping: str = ""
    groups: tuple[Group, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def projected(self) -> int | None:
        """Width of the random projections, None where products are exact."""
        blocks = self.path.blocks
        return blocks.values.shape[1] if isinstance(blocks, Factors) else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: scalars with their errors, and those of the groups."""
        return {
            "checkpoints": len(self.path.step),
            "steps": self.path.step.tolist(),
            "parameters": self.path.parameters,
            **_flat(self.path.scalars),
            "grouping": self.grouping,
            "groups": [
                {"name": group.name, "parameters": group.parameters, **_flat(group.scalars)}
                for group in self.groups
            ],
            "skipped": list(self.skipped),
            "tied": list(self.tied),
            "projections": self.projected,
            **self.notes,
        }

    def table(self) -> str:
        """The scalars, and the similarity of every group, for people."""
        lines = [f"checkpoints                      {len(self.path.step)}"]
        if self.path.parameters:
            lines.append(f"parameters                       {self.path.parameters}")
        if self.projected is not None and self.projected < self.path.parameters:
            lines.append(f"random projections               to {self.projected} numbers")
        for name, (value, error) in self.path.scalars.items():
            unit = " degrees" if SCALARS[name].units == "degrees" else ""
            lines.append(f"{name.replace('_', ' '):<33}{_words(value, error)}{unit}")
        if self.groups:
            width = max(len(group.name) for group in self.groups)
            lines.append(f"\n{self.grouping:<{width}} {'parameters':>12}  similarity")
        for group in self.groups:
            words = _words(*group.scalars["mean_directional_similarity"])
            lines.append(f"{group.name:<{width}} {group.parameters:>12}  {words}")
        return "\n".join(lines)

    def csv(self) -> str:
        """One line for the whole and one per group, with every scalar and its standard error."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        columns = [f"{name}{suffix}" for name in SCALARS for suffix in ("", "_stderr")]
        writer.writerow(["group", "parameters", *columns])
        whole = Group("all", self.path.parameters, self.path.scalars)
        for group in (whole, *self.groups):
            flat = _flat(group.scalars)
            cells = ["" if flat[column] is None else repr(flat[column]) for column in columns]
            writer.writerow([group.name, group.parameters, *cells])
        return stream.getvalue()

    def maps(self) -> dict[str, Map]:
        """The map and the one relative to the start; without rows where nothing moves."""
        return {"map": self._map(None), "relative_map": self._map(0)}

    def _map(self, origin: int | None) -> Map:
        try:
            return self.path.map(origin)
        except InputError:
            return _NOTHING


def report_of(
    grams: Grams | Projections, source: str | Path, by: Grouping | None = None, **settings: Any
) -> Report:
    """Everything about checkpoints.

    Parameters
    ----------
    grams : of `of_checkpoints`.
    source : where they are, for the record.
    by : grouping of the tensors, none by default.
    settings : stored in the file as they are.

    Raises
    ------
    InputError : as `Grams.groups`.
    """
    groups = [] if by is None else list(grams.groups(by).values())
    return Report(
        path=grams.trajectory(),
        source=str(source),
        checkpoints=grams.checkpoints,
        grouping=by or "",
        groups=tuple(Group(path.name, path.parameters, path.scalars) for path in groups),
        skipped=grams.skipped,
        tied=grams.tied,
        notes=grams.notes,
        settings=settings,
    )


def _flat(scalars: Scalars) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, (value, error) in scalars.items():
        flat[name], flat[f"{name}_stderr"] = value, error
    return flat


def _words(value: float | None, error: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.5g}" if error is None else f"{value:.5g} ± {error:.1e}"
