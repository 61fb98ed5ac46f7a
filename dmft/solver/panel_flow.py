"""What one kind of flow has of its own in the scheme of panels (panels.py)."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from dmft.solver.pilot import PanelMarch, StepControl
from dmft.solver.plan import Plan
from dmft.solver.scheme import Finished, Grid


class Flow(Protocol):
    """One kind of flow: its marches and what they leave behind.

    descends : whether train_mse can only fall. method : see `Scheme`.
    most_splits : panels of a plan that may be cut in two when a replicate needs it.
    pilots_differ : whether a pilot marches otherwise than a replicate.
    """

    descends: bool
    method: str
    most_splits: int
    pilots_differ: bool

    @property
    def rows_type(self) -> type:
        """The rows of its panels, a dataclass."""
        ...

    def start(
        self,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None,
        panels: int,
        rtol: float,
        pilot: bool,
    ) -> PanelMarch:
        """A march of `count` paths at t = 0, with room for so many panels."""
        ...

    def control(self, march: Any, rtol: float) -> StepControl:
        """What chooses the panels of a pilot."""
        ...

    def pilot_paths(self) -> int:
        """How many paths a pilot has."""
        ...

    def rotation(self, march: Any) -> np.ndarray:
        """How a pilot's plan rotates the noise of replicates."""
        ...

    def rehearses(self, march: Any) -> bool:
        """Whether a pilot's rotation is too rough for replicates, see rehearsal.py."""
        ...

    def hopeless(self, march: Any) -> str:
        """Why a pilot should not go on, or ""."""
        ...

    def finish(self, march: Any) -> Finished:
        """What a march leaves behind."""
        ...

    def grid(self, plan: Plan) -> Grid:
        """The nodes on which it does."""
        ...

    def memory(self, count: int, panels: int) -> float:
        """Bytes that a march takes."""
        ...

    def time_error(self, name: str, rtol: float, mean: np.ndarray) -> np.ndarray:
        """What the time discretisation may add to a mean curve."""
        ...
