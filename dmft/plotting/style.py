"""What all figures share: colours, words, axes of time, error bars, files."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.problem import Problem
from dmft.problem.display import problem_words
from dmft.results.curves import Curves
from dmft.results.observables import OBSERVABLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dmft.results.simulation import Simulation

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"
PURPLE, SKY = "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "v", "D", "P")
_OWN = {  # of curves that appear in many figures
    "train_mse": (BLUE, "o"),
    "excess_risk": (VERMILION, "s"),
    "train_loss": (ORANGE, "D"),
    "train_error": (BLUE, "o"),
    "test_error": (VERMILION, "s"),
    "overlap": (GREEN, "^"),
    "squared_norm": (PURPLE, "v"),
    "mean_charge": (GREEN, "^"),
    "effective_alpha": (PURPLE, "v"),
}
TIME_LABEL, STEP_LABEL = "time (units of the flow)", "steps"
LEVEL = 0.95
BAND_WORDS = "95 % intervals"
VANISHED = 1e-14  # of a curve's start: smaller values are rounding errors and are not drawn
_LOGARITHMIC = 30.0  # ratio of the last time to the first above which their axis may be logarithmic
_TITLE = 110  # characters of a line


def figure(width: float, height: float, what: str, problem: Problem | None = None) -> Figure:
    """An empty figure, its title what is drawn and of which problem."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12)
    made = Figure(figsize=(width, height), dpi=100, layout=layout)
    lines = [what] if problem is None else [what, title(problem, int(_TITLE * width / 12.0))]
    made.suptitle("\n".join(lines), fontsize=11)
    return made


def write(figure: Figure, path: str | Path) -> None:
    """Save, in the format of the ending."""
    figure.savefig(path, format=Path(path).suffix.lstrip(".").lower() or "png")


def axes_for(ax: Axes | None) -> Axes:
    """The axes given, or new ones: of pyplot where it is in use, else of a figure of their own."""
    if ax is not None:
        return ax
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        made: Axes = pyplot.subplots(layout="constrained")[1]
        return made
    from matplotlib.figure import Figure

    return Figure(layout="constrained").subplots()


def title(problem: Problem, width: int = _TITLE) -> str:
    """The problem in words, in lines that fit; of the default one what everybody asks first."""
    words = problem_words(problem)
    if problem == Problem():
        ratio, noise = problem.sampling_ratio, problem.noise_std
        words += f": sampling_ratio = {ratio:g}, noise_std = {noise:g}, depth 2"
    words = words[0].upper() + words[1:]
    return textwrap.fill(words, width, break_long_words=False, break_on_hyphens=False)


def ensemble(simulation: Simulation) -> str:
    """Runs, dimension and design of a simulation."""
    settings = simulation.settings
    runs = plural(len(simulation.seed), "run")
    return f"Simulation of {runs} at dimension {settings.dimension}, {settings.design} design"


def plural(count: int, word: str) -> str:
    """The count with its noun."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def words_of(name: str) -> str:
    """What tables and figures call a curve; a user's own by its name."""
    return OBSERVABLES[name].words if name in OBSERVABLES else name.replace("_", " ")


def look_of(name: str, number: int) -> tuple[str, str]:
    """Colour and marker: its own, or those of the place in the list."""
    place = number % len(COLOURS)
    return _OWN.get(name, (COLOURS[place], MARKERS[place]))


def time_label(problem: Problem) -> str:
    """Steps of discrete dynamics, else time."""
    return STEP_LABEL if problem.dynamics.discrete else TIME_LABEL


def time_scale(time: np.ndarray) -> str:
    """Logarithmic where times span a decade and a half at least, unless evenly spaced."""
    later = time[time > 0.0]
    if len(later) < 2:
        return "linear"
    gaps = np.diff(later)
    even = np.allclose(gaps, gaps[0], rtol=1e-6) and len(later) > 2
    return "log" if later[-1] / later[0] > _LOGARITHMIC and not even else "linear"


def half_width(result: Curves, name: str) -> np.ndarray | None:
    """Half of the 95 % interval at the recorded times, or None with one run."""
    if result.curves[name].stderr is None or result.runs < 2:
        return None
    low, high = result.interval(name, LEVEL)
    return (high - low) / 2.0


def has_errors(result: Curves) -> bool:
    """Whether there are intervals to draw."""
    return result.runs > 1 and result.curves["excess_risk"].stderr is not None


def finish_time(axes: Axes, problem: Problem, scale: str) -> None:
    """Axis of time and the grid."""
    axes.set(xscale=scale, xlabel=time_label(problem))
    axes.grid(alpha=0.25)
