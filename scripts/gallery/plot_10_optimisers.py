"""Optimisers
==========

The same problem by gradient descent, with momentum, and by Adam, all in the limit of infinitely
many coordinates. Speed has a price in excess risk.
"""

import matplotlib.pyplot as plt

import dmft

optimisers = {
    "gradient descent": {"kind": "gradient-descent", "step_size": 0.1},
    "momentum 0.9": {"kind": "gradient-descent", "step_size": 0.03, "momentum": 0.9},
    "Adam": {"kind": "adam", "step_size": 0.01},
}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
for name, dynamics in optimisers.items():
    problem = dmft.Problem(dynamics=dynamics)
    found = dmft.solve(problem, t_max=150, n_paths=512, replicates=2)
    axes[0].plot(found.time, found.train_mse, label=name)
    axes[1].plot(found.time, found.excess_risk)
axes[0].set(yscale="log", xlabel=dmft.plotting.STEP_LABEL, ylabel="training error")
axes[1].set(yscale="log", xlabel=dmft.plotting.STEP_LABEL, ylabel="excess risk")
axes[0].legend()
plt.show()
