"""Importing this module compiles the kernels of the solver, or loads them from their cache.

The server that local workers are forked from imports it, so that they share the compiled code.
"""

from contextlib import suppress

import dmft

with suppress(Exception):  # whatever it is, the workers will say it
    dmft.solve(dmft.Problem(), t_max=0.1, n_paths=64, replicates=1, threads=1)
