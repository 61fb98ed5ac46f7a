"""Optimisation trajectories: maps, angles and redundancy of any sequence of checkpoints."""

from dmft.trajectory import kernels
from dmft.trajectory.figures import plot_map
from dmft.trajectory.gram import Grams, of_arrays
from dmft.trajectory.measures import Map, Trajectory
from dmft.trajectory.opening import of_checkpoints
from dmft.trajectory.projections import Projections
from dmft.trajectory.recorder import Recorder

__all__ = [
    "Grams", "Map", "Projections", "Recorder", "Trajectory", "kernels", "of_arrays",
    "of_checkpoints", "plot_map",
]  # fmt: skip
