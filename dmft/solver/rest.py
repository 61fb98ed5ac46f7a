"""Panels of a flow that has come to rest.

After a small start the residual vanishes, and in the rich limit as many weights are left as there
are data: nothing damps what the sample adds to the residual once it is smaller than that. Where it
no longer falls like 1/t, or panels fail, weights would move without end; they stay instead, and
so does a residual that is below its sampling error.

With decay the residual stays, and weights go to where it balances the decay: those on the edge of
their support like 1/t, ever fewer of them. A long panel then moves nothing that can be seen, but
one path more or less on the support turns its responses, and sweeps do not settle or find no
causal response. All has come to rest if the paths, each in the field as it is, hardly move on
their way to where they end: then the field may stay, too, and what follows is constant. Nodes at
rest repeat the last one: weights, noise and responses to the past.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.accuracy import Accuracy
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_rows import Attempt, PanelRows
from dmft.solver.panel_time import panel_time
from dmft.solver.sides import CoordinatePaths, Equation, NoPath

# Relaxation times of the decay until all have ended; after more G, which grows with time, is
# rounded too much.
_END = 1e8
_TOLERANCE = 1e-6  # of the paths
# The residual, relative to its start, below which it may rest where it lingers or a panel fails.
_VANISHED, _NEARLY = 3e-4, 3e-3
# Less where so many times the error, relative to its start too, is less: where the teacher is found
# the error is no larger than what the residual still says of it.
_ERRORS = 10.0
# Panels of a pilot at rest that grow no faster than replicates need them that are not, and the time
# error, relative to the tolerance, which lets them grow so.
_FOLLOWED, _FOLLOWED_ERROR = 8, 0.5


def rests(rows: PanelRows) -> bool:
    """Whether these are rows of a panel at rest: responses inside it have the scale 0."""
    return not rows.scale.any()


class Rest:
    """What finds out that a march is at rest, and what follows then."""

    def __init__(
        self,
        paths: CoordinatePaths,
        samples: LinearSamples,
        accuracy: Accuracy,
        decay: float,
        small: bool,
    ) -> None:
        """decay : of the weights. small : whether the start is; else what has none never rests."""
        self._small = small
        self._paths, self._samples, self._accuracy = paths, samples, accuracy
        self._decay = decay

    def attempt(
        self, before: Sequence[PanelRows], step: float, error: np.ndarray
    ) -> Attempt | None:
        """The panel after those with rows `before` if all rests; error : e of paths, (paths, 1)."""
        last = before[-1]
        nothing = np.zeros((STAGES, STAGES))
        loading = np.append(last.known[-1], last.fresh[-1])
        ends = loading, self._samples.response[-1], last.intensity[-1]
        known, past, intensity = (np.tile(row, (STAGES, 1)) for row in ends)
        rows = PanelRows(step, np.zeros(STAGES), nothing, past, known, nothing, intensity)
        if not (rests(last) or self._below(_NEARLY, error) or self._ended(rows, error)):
            return None
        rtol = self._accuracy.rtol
        followed = self._decay == 0.0 and sum(map(rests, before)) < _FOLLOWED
        return Attempt(rows, 1, _FOLLOWED_ERROR * rtol if followed else 0.0, True, rtol)

    def lingers(self, rows: PanelRows, time: float, error: np.ndarray) -> bool:
        """Whether a small residual rises, or a vanished one falls no faster than 1/t.

        rows : of a panel that begins at `time`. error : as in `attempt`.
        """
        if not self._below(_NEARLY, error):
            return False
        now, then = self._samples.residual(rows)[-1], self._samples.factor[-1]
        least = 1.0 + rows.step / time if self._below(_VANISHED, error) else 1.0
        return float(np.linalg.norm(now)) * least > float(np.linalg.norm(then))

    def _below(self, level: float, error: np.ndarray) -> bool:
        """Whether the residual of a small start without decay is below a level."""
        if not self._small or self._decay > 0.0:
            return False
        level *= min(1.0, _ERRORS * self._accuracy.remaining(error))
        return self._accuracy.residual() < level

    def _ended(self, rows: PanelRows, error: np.ndarray) -> bool:
        """Whether paths end where they are in the field of rows at rest."""
        if self._decay == 0.0:
            return False
        paths, samples = self._paths, self._samples
        panel = panel_time(0.0, _END / self._decay, growth=paths.growth, logarithmic=False)
        force = (paths.root_variance * samples.force_now)[:, None]
        stages = paths.guess(force * panel.integration.sum(axis=1), panel.elapsed)
        drive = samples.drive_of(rows, samples.drive.fresh(STAGES))
        equation = Equation(
            panel.integration, samples.ratio, paths.teacher, drive, np.zeros_like(drive),
            _TOLERANCE,
        )  # fmt: skip
        try:
            paths.solve(stages, panel.elapsed, equation)
        except NoPath:
            return False
        ended = paths.root_variance[:, None] * (stages.output - paths.teacher[:, None])
        factor = samples.factor[-1:]  # and stays
        return self._accuracy.change(ended - error, error, 0.0 * factor, factor) < 1.0
