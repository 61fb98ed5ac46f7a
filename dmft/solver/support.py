"""How fine a tolerance a sample of paths supports.

After a small start a weight is nearly a step in the force that it has felt: while the first ones
escape from zero, a few extreme paths carry the average response of all. What they have done so far
differs from sample to sample. A finer tolerance gives directions of the noise (noise.py) to such
changes, all later ones follow these, and the march gets worse, not better.

With S = -s dw/dG the response of a path, the relative variance of its sampled mean is V/n,
V = E[S^2] / E[S]^2 - 1: 5 at most on the default problem, 40 with `init_scale = 0.1`, 600 with
0.01. A tolerance below `_SHARE` V/n is not followed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Measured (docs/accuracy.md): where scatter and bias begin to grow with a finer tolerance, and the
# tolerance that every sample supports.
_SHARE, ALWAYS_SUPPORTED = 0.1, 1e-2
_EVEN = 1.0  # V below it: half of all paths or more take part


@dataclass(frozen=True)
class Support:
    """Paths that support a tolerance.

    paths : how many. foreseen : V that they will reach at least. The first panels, whose V is
    small yet, would follow a finer tolerance with directions that turn those of the escape.
    """

    paths: int
    foreseen: float = 0.0


def concentration(probability: np.ndarray, response: np.ndarray) -> float:
    """Largest V over the nodes of `response`, shape (paths, nodes); zero if nothing responds."""
    mean = probability @ np.abs(response)
    seen = mean > 0.0
    relative = response[:, seen] / mean[seen]  # tiny responses have no square
    return max(0.0, float(np.max(probability @ relative**2, initial=1.0)) - 1.0)


def supported_rtol(largest: float, paths: float) -> float:
    """The finest tolerance that `paths` support once V has been `largest`; zero if any."""
    return min(ALWAYS_SUPPORTED, _SHARE * max(0.0, largest - _EVEN) / paths)
