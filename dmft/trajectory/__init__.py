"""Optimisation trajectories: maps, angles and redundancy of any sequence of checkpoints."""

from dmft.trajectory import kernels
from dmft.trajectory.gram import Grams, of_arrays, of_checkpoints
from dmft.trajectory.measures import Map, Trajectory

__all__ = ["Grams", "Map", "Trajectory", "kernels", "of_arrays", "of_checkpoints"]
