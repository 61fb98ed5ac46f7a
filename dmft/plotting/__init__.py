"""Figures of solutions, simulations and their comparison.

`plot_curves` and `plot_kernel` draw into axes and return them; `plot_solution`, `plot_simulation`,
`plot_comparison` and `plot_overlay` write a whole page to a file, `plot_part` one panel of it.
Colours are those of Okabe and Ito, which people with colour-blindness can tell apart. Bands and
bars are 95 % confidence intervals by Student's t over the runs. Pages are drawn without pyplot, so
no display and no global state is involved.
"""

from __future__ import annotations

from dmft.plotting.curves import plot_curves
from dmft.plotting.kernels import plot_kernel
from dmft.plotting.overlay import plot_overlay
from dmft.plotting.pages import plot_comparison, plot_part, plot_simulation, plot_solution
from dmft.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STEP_LABEL,
    TIME_LABEL,
    VERMILION,
)

__all__ = [
    "BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "SKY", "STEP_LABEL", "TIME_LABEL", "VERMILION",
    "plot_comparison", "plot_curves", "plot_kernel", "plot_overlay", "plot_part",
    "plot_simulation", "plot_solution",
]  # fmt: skip
