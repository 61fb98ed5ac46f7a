"""Optimisation trajectories: maps, angles and redundancy of any sequence of checkpoints."""
