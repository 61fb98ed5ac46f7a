"""Two-time kernels
================

What is left at time t of an error that was there at time s, and how a residual answers to a
change of its label: the order parameters of the mean field.
"""

import matplotlib.pyplot as plt

import dmft

problem = dmft.Problem(sampling_ratio=0.5, network={"init_scale": 0.1})
solution = dmft.solve(problem, t_max=30.0, n_paths=512, replicates=2)

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
dmft.plotting.plot_kernel(solution, "correlation_error", ax=axes[0])
dmft.plotting.plot_kernel(solution, "response_residual", ax=axes[1])
plt.show()
