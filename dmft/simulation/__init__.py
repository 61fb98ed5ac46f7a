"""Finite-dimensional runs that the mean field is compared with."""

from dmft.results.simulation import Simulation
from dmft.simulation.ensemble import simulate

__all__ = ["Simulation", "simulate"]
