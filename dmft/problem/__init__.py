"""What is solved: teacher, features, network, dynamics, and the population they make."""

from dmft.problem.problem import Problem

__all__ = ["Problem"]
