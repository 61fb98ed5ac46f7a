"""What all replicates of a solve share: panels and the rotation of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Plan:
    """Panels and noise rotation of all replicates.

    edges : panel boundaries from 0 to the time reached, shape (panels + 1,).
    directions : the stages that get a noise direction of their own, shape (panels, stages).
    rotation : orthogonal, acts on the noise of the first directions of a sample; where both sides
        are sampled, one for each (rotations.py).
    reason : why the last edge is before t_max, or "".
    rtol : the loosest tolerance of a panel; 0 where it is not known to be other than asked for.
    """

    edges: np.ndarray
    directions: np.ndarray
    rotation: np.ndarray
    reason: str = ""
    rtol: float = 0.0

    @property
    def panels(self) -> int:
        """How many there are."""
        return len(self.edges) - 1

    @property
    def end(self) -> float:
        """The time where the last panel ends."""
        return float(self.edges[-1])

    def split(self, panel: int) -> Plan:
        """The plan with one panel cut in two."""
        middle = 0.5 * (self.edges[panel] + self.edges[panel + 1])
        edges = np.insert(self.edges, panel + 1, middle)
        directions = np.insert(self.directions, panel + 1, True, axis=0)
        return replace(self, edges=edges, directions=directions)

    def cut(self, panel: int, reason: str) -> Plan:
        """The plan that ends before a panel."""
        edges, directions = self.edges[: panel + 1], self.directions[:panel]
        return replace(self, edges=edges, directions=directions, reason=reason)

    def extended(self, later: Plan, panels: int) -> Plan:
        """The first panels of this plan, then those that follow the same ones in a later plan.

        The noise of what is there already stays, so the rotation is that of this plan.
        """
        edges = np.concatenate([self.edges[: panels + 1], later.edges[panels + 1 :]])
        directions = np.concatenate([self.directions[:panels], later.directions[panels:]])
        return Plan(edges, directions, self.rotation, later.reason, later.rtol)

    def saved(self) -> dict[str, Any]:
        """The plan as a tree of arrays and text."""
        return dict(vars(self))

    @classmethod
    def restored(cls, tree: Mapping[str, Any]) -> Plan:
        """The inverse of `saved`."""
        return cls(**tree)
