"""Numerical tools, free of the package: collocation, accelerators, sampling, threads."""
