"""Panels of a flow with weight decay that has come to rest.

With decay the residual stays, and weights go to where it balances the decay: those on the edge of
their support like 1/t, ever fewer of them. A long panel then moves nothing that can be seen, but
one path more or less on the support turns its responses, and sweeps do not settle or find no
causal response. All has come to rest if the paths, each in the field as it is, hardly move on
their way to where they end: then the field may stay, too, and what follows is constant. Nodes at
rest repeat the last one: weights, noise and responses to the past.
"""

from __future__ import annotations

import numpy as np

from dmft.numerics.collocation import STAGES, radau
from dmft.solver.accuracy import Accuracy
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_rows import PanelRows
from dmft.solver.sides import CoordinatePaths, Equation, NoPath

# Relaxation times of the decay until all have ended; after more G, which grows with time, is
# rounded too much.
_END = 1e8


def rests(rows: PanelRows) -> bool:
    """Whether these are rows of a panel at rest: responses inside it have the scale 0."""
    return not rows.scale.any()


def at_rest(last: PanelRows, step: float, response: np.ndarray) -> PanelRows:
    """Rows of a panel at rest after one with rows `last`; response : the last row of R_w."""
    nothing = np.zeros((STAGES, STAGES))
    loading = np.append(last.known[-1], last.fresh[-1])
    known, past = (np.tile(row, (STAGES, 1)) for row in (loading, response))
    intensity = np.tile(last.intensity[-1], (STAGES, 1))
    return PanelRows(step, np.zeros(STAGES), nothing, past, known, nothing, intensity)


def settled(
    rows: PanelRows,
    paths: CoordinatePaths,
    samples: LinearSamples,
    accuracy: Accuracy,
    error: np.ndarray,
    decay: float,
    tolerance: float,
) -> bool:
    """Whether paths end where they are in the field of rows at rest.

    error : e of every path now, (paths, 1). tolerance : relative, of their Newton steps.
    """
    tableau = radau(paths.growth * _END / decay)
    integration, elapsed = (_END / decay) * tableau.integration, (_END / decay) * tableau.nodes
    force = (paths.root_variance * samples.force_now)[:, None]
    stages = paths.guess(force * integration.sum(axis=1), elapsed)
    drive = samples.drive_of(rows, samples.drive.fresh(STAGES))
    still = np.zeros_like(drive)
    equation = Equation(integration, samples.ratio, paths.teacher, drive, still, tolerance)
    try:
        paths.solve(stages, elapsed, equation)
    except NoPath:
        return False
    ended = paths.root_variance[:, None] * (stages.output - paths.teacher[:, None])
    factor = samples.factor[-1:]  # and stays
    return accuracy.change(ended - error, error, 0.0 * factor, factor) < 1.0
