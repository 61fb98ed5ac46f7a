"""Exponential symmetries, the Noether flow of their charges, and their noise equilibrium."""

from dmft.symmetry.equilibrium import Equilibrium, noise_equilibrium
from dmft.symmetry.exponential import ExponentialSymmetry, Symmetries
from dmft.symmetry.finding import Family, find
from dmft.symmetry.noether import Orbit, next_charge, noether_flow, orbit_through, scaled_charge
from dmft.symmetry.tracker import ChargeRecord, ChargeTracker, expected_drift
from dmft.symmetry.training import Run, Training, train

__all__ = [
    "ChargeRecord", "ChargeTracker", "Equilibrium", "ExponentialSymmetry", "Family", "Orbit", "Run",
    "Symmetries", "Training", "expected_drift", "find", "next_charge", "noether_flow",
    "noise_equilibrium", "orbit_through", "scaled_charge", "train",
]  # fmt: skip
