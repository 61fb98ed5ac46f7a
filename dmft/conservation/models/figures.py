"""The figure of tracked laws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.plotting import BLUE, GREY, VERMILION
from dmft.store.output import replacing

if TYPE_CHECKING:
    from dmft.conservation.models.record import Record


def plot_record(record: Record, path: Path) -> None:
    """Drift and what explains it, by kind of law; medians over layers, ranges as bands."""
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(kind_of(name) for name in record.names))
    columns = min(4, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.9 * rows + 0.6), dpi=100, layout="constrained")
    figure.suptitle(f"Laws of {record.model}, {record.optimizer}, {record.precision}", fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat[len(kinds) :]:
        place.set_visible(False)
    for kind, place in zip(kinds, axes.flat, strict=False):
        where = [i for i, name in enumerate(record.names) if kind_of(name) == kind]
        for curve, label, colour, style in (
            (record.baseline_drift, "not conserved", GREY, ":"),
            (record.drift, "conserved: drift", BLUE, "-"),
            (record.explained, "drift as predicted", VERMILION, "--"),
        ):
            _draw(place, record.steps, curve[:, where], label, colour, style)
        if not place.lines:
            place.text(0.5, 0.5, "constant", ha="center", transform=place.transAxes)
        else:
            place.set_yscale("log")
        place.set_title(f"{kind} ({record.counts[where].sum()})", fontsize=9)
        place.grid(alpha=0.25)
        place.set_xlabel("steps")
    for row in axes:
        row[0].set_ylabel("change / size")
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9
    )
    with replacing(path) as temporary:
        figure.savefig(temporary)


def kind_of(name: str) -> str:
    """The kind of a law, without the layer to which it belongs."""
    words = name.split()
    return " ".join(words[:-1]) if len(words) > 1 else name


def _draw(place, steps, curves, label, colour, style) -> None:  # type: ignore[no-untyped-def]
    shown = np.where(curves > 0, curves, np.nan)
    if np.isnan(shown).all():
        return
    x = steps[1:] if len(steps) > 1 else steps
    shown = shown[-len(x) :]
    filled = np.isfinite(shown).any(axis=1)
    x, shown = x[filled], shown[filled]
    place.plot(x, np.nanmedian(shown, axis=1), style, color=colour, label=label)
    if shown.shape[1] > 1:
        low, high = np.nanmin(shown, axis=1), np.nanmax(shown, axis=1)
        place.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
