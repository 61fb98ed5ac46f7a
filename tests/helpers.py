"""What tests of several folders say alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmft.problem import Problem
from dmft.settings import SimulationSettings
from dmft.simulation.data import DataSet, draw_data


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(entry.name for entry in folder.iterdir())


def data_set(problem: Problem, dimension: int, seed: int = 0, **settings: object) -> DataSet:
    """One data set of a problem."""
    sequence = np.random.SeedSequence(seed)
    return draw_data(problem, SimulationSettings(dimension=dimension, **settings), sequence)
