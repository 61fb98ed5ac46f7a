"""Short text and HTML of results, for terminals and notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dmft.problem.display import problem_words

if TYPE_CHECKING:
    from dmft.results.curves import Curves

_SHOWN = ("train_loss", "train_mse", "excess_risk", "test_error", "overlap", "mean_charge")
_WIDTH, _HEIGHT = 360, 150  # of a drawing, in pixels


def text(result: Curves) -> str:
    """Two or three lines: what it is, how far, where the main curves end."""
    lines = [f"{type(result).__name__} of {problem_words(result.problem)}", _extent(result)]
    ends = [f"{name} = {_with_error(result, name)}" for name in _SHOWN[1:] if name in result.curves]
    return "\n".join([*lines, "at the end: " + ", ".join(ends)])


def html(result: Curves) -> str:
    """A table of the ends of all curves beside a drawing of the two main ones."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(_with_error(result, name))}</td></tr>"
        for name in result.curves
    )
    return (
        f"<div><p><b>{type(result).__name__}</b> of {escape(problem_words(result.problem))}<br>"
        f"{escape(_extent(result))}</p>{_drawing(result)}"
        f"<details><summary>all curves at the end</summary><table>{rows}</table></details></div>"
    )


def _extent(result: Curves) -> str:
    discrete = result.problem.dynamics.discrete
    end = f"{result.time[-1]:g} steps" if discrete else f"t = {result.time[-1]:g}"
    runs, settings = result.runs, result.settings
    if result.runs_prefix == "seed_":
        return f"{runs} networks of dimension {settings.dimension} to {end}"
    words = f"{runs} x {settings.n_paths} paths to {end}, {len(result.time)} nodes, {result.status}"
    words = f"{words}: {result.reason}" if result.reason else words
    return f"{words}; {result.note}" if result.note else words


def _with_error(result: Curves, name: str) -> str:
    curve = result.curves[name]
    value = f"{curve.mean[-1]:.5g}"
    return value if curve.stderr is None else f"{value} ± {curve.stderr[-1]:.1e}"


def _drawing(result: Curves) -> str:
    """Training error and excess risk in a small drawing, both axes logarithmic."""
    shown = result.time > 0.0
    time = result.time[shown]
    curves = {}
    for name, colour in (("train_mse", "#0072b2"), ("excess_risk", "#d55e00")):
        values = result.curves[name].mean[shown]
        visible = values > 1e-12 * max(values.max(initial=0.0), 1e-300)
        if visible.sum() > 1:
            curves[name, colour] = (np.log10(time[visible]), np.log10(values[visible]))
    if not curves:
        return ""
    x = np.concatenate([each[0] for each in curves.values()])
    y = np.concatenate([each[1] for each in curves.values()])
    low, span = np.array([x.min(), y.min()]), np.maximum([np.ptp(x), np.ptp(y)], 1e-9)
    lines, words = [], []
    for (name, colour), (across, up) in curves.items():
        points = " ".join(
            f"{(a - low[0]) / span[0] * _WIDTH:.1f},{(1 - (b - low[1]) / span[1]) * _HEIGHT:.1f}"
            for a, b in zip(across, up, strict=True)
        )
        lines.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        words.append(f"<span style='color:{colour}'>{name}</span>")
    return (
        f"<p>{', '.join(words)}; time from {10 ** x.min():.2g} to {10 ** x.max():.2g}, values from "
        f"{10 ** y.min():.2g} to {10 ** y.max():.2g}, both logarithmic</p>"
        f"<svg width='{_WIDTH}' height='{_HEIGHT}' viewBox='-4 -4 {_WIDTH + 8} {_HEIGHT + 8}' "
        f"role='img' aria-label='learning curves'>{''.join(lines)}</svg>"
    )
