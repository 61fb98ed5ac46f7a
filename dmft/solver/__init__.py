"""The self-consistent solver: one solve is a pilot and replicates that march panel by panel."""

from dmft.progress import Progress
from dmft.solver.run import solve

__all__ = ["Progress", "solve"]
