"""Finite-dimensional runs that the mean field is compared with."""

from dmft.simulation.ensemble import simulate
from dmft.simulation.result import Simulation

__all__ = ["Simulation", "simulate"]
