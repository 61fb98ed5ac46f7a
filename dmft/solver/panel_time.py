"""Where the nodes of a panel lie in time, and how forces on them accumulate.

Forces are polynomials on a panel, in time or in its logarithm. After a small start weights leave
zero one by one, for decades of time: what happens depends on ratios of times, and polynomials in
log t follow it on panels that are half as many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import Tableau, radau, stretched


@dataclass(frozen=True)
class PanelTime:
    """Nodes and weights of a panel.

    elapsed : times of the nodes since its start, (stages,).
    integration : the accumulated force of a unit force that is one at a node and zero at the
        others, (stages, stages).
    """

    elapsed: np.ndarray
    integration: np.ndarray

    @classmethod
    def of(cls, tableau: Tableau, step: float) -> PanelTime:
        """A panel of length `step`."""
        return cls(step * tableau.nodes, step * tableau.integration)

    def nothing(self) -> PanelTime:
        """No time at all, for paths that stay where they are."""
        return PanelTime(0.0 * self.elapsed, 0.0 * self.integration)


def panel_time(start: float, step: float, *, growth: float, logarithmic: bool) -> PanelTime:
    """The panel from `start` on; the first one has no logarithm.

    growth : mu of the accumulated force (networks.py), which has no panels in log t.
    """
    if logarithmic and start > 0.0:
        return PanelTime.of(stretched(1.0 + step / start), step)
    return PanelTime.of(radau(growth * step), step)
