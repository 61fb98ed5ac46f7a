"""What a run is taken for, without reading tensor data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmft.trajectory.attention import Part
from dmft.trajectory.gram import members
from dmft.trajectory.opening import heads_of, parts_in
from dmft.trajectory.series import Series, open_series

_ROWS = 12


@dataclass(frozen=True)
class Inspection:
    """A run as it would be read.

    series : checkpoints and tensors; parts : tensors, or the heads they are split into.
    heads : of queries, and of keys and values; groups : parameters of each, by the grouping.
    """

    series: Series
    parts: Sequence[Part]
    heads: tuple[int | None, int | None]
    groups: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        series = self.series
        return {
            **series.notes,
            "checkpoints": [c.name for c in series.checkpoints],
            "steps": series.step.tolist(),
            "tensors": {name: list(tensor.shape) for name, tensor in series.rows[0].items()},
            "parameters": sum(part.size for part in self.parts),
            "heads": self.heads[0],
            "kv_heads": self.heads[1],
            "groups": dict(self.groups),
            "skipped": series.skipped,
            "tied": list(series.tied),
        }

    def table(self) -> str:
        """The same for people."""
        series, first = self.series, self.series.rows[0]
        steps = [f"{step:.10g}" for step in series.step]
        lines = [
            f"run          {series.kind}",
            f"checkpoints  {len(steps)}, {series.checkpoints[0].name} to "
            f"{series.checkpoints[-1].name}",
            f"steps        {', '.join(_few(steps))}; from {series.said or 'their order'}",
            f"tensors      {len(first)}, {sum(p.size for p in self.parts)} parameters",
        ]
        if self.heads[0] is not None:
            found = {part.projection for part in self.parts if part.head is not None}
            what = ", ".join(sorted(name for name in found if name)) or "nothing to split"
            lines.append(f"heads        {self.heads[0]} ({what})")
        for what, names in (("files left out", series.left_out), ("left out", series.skipped)):
            lines += [f"{what}: {name} ({why})" for name, why in list(names.items())[:_ROWS]]
            if len(names) > _ROWS:
                lines.append(f"... and {len(names) - _ROWS} more")
        if series.tied:
            lines.append(f"tied to others: {', '.join(_few(list(series.tied)))}")
        lines += [f"  {name}  {size}" for name, size in list(self.groups.items())[:_ROWS]]
        if len(self.groups) > _ROWS:
            lines.append(f"  ... and {len(self.groups) - _ROWS} more")
        return "\n".join(lines)


def inspected(
    paths: str | Path | Sequence[str | Path],
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    by: str | None = None,
    **choice: Any,
) -> Inspection:
    """What `of_checkpoints` would take, from the headers of the files alone.

    Parameters
    ----------
    heads, kv_heads, by : as in `opening.of_checkpoints`; by layer by default.
    choice : steps, key, include and exclude, as in `series.open_series`.

    Raises
    ------
    InputError : as `of_checkpoints`.
    """
    where = Path(paths) if isinstance(paths, str | Path) else [Path(path) for path in paths]
    series = open_series(where, **choice)
    if heads is None and by in ("projection", "head"):
        heads, kv_heads = heads_of(series)
    parts = parts_in(series, heads, kv_heads)
    groups = {
        name: sum(part.size for part, there in zip(parts, inside, strict=True) if there)
        for name, inside in members(parts, by or "layer").items()
    }
    return Inspection(series, parts, (heads, kv_heads), groups)


def _few(words: list[str]) -> list[str]:
    return words if len(words) <= 6 else [*words[:3], "...", *words[-2:]]
