"""A rehearsal: one march over a pilot's panels for a better rotation of the noise.

Replicates give the most uniform dimensions of their sample to the combinations of noise that move
the weights most (pilot.py). After a small start a pilot, of few paths and not rotated itself, finds
them to some percent only: a share of .03 to .05 of the final noise of a replicate is left on its
least uniform dimensions, which then is what its scatter comes from. Replicates agree among
themselves to .01. So a march like theirs, with the pilot's rotation and seeds of its own, finds the
rotation for all. Measured in docs/accuracy.md.
"""

from __future__ import annotations

from dmft.solver.pilot import PanelMarch

MOST_REHEARSING = 4096  # paths: more find hardly better ones


def rehearsed(march: PanelMarch, pilot: PanelMarch) -> bool:
    """Solve the panels of a pilot, to whose work this is added; whether all of them converged."""
    for rows in pilot.rows:
        attempt = march.attempt(rows.step, rows.active)
        if attempt is None or not attempt.converged:
            break
        march.commit(attempt.rows)
    for name, amount in march.work.items():
        pilot.work[name] += amount
    return len(march.rows) == len(pilot.rows)
