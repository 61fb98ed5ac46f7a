"""Dynamical mean-field theory of diagonal linear networks, and the subjects around it."""
from dmft.problem import Problem
