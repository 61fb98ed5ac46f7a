"""The self-consistent solver: one solve is a pilot and replicates that march panel by panel."""

from dmft.progress import Progress
from dmft.solver.solve import solve

__all__ = ["Progress", "solve"]
