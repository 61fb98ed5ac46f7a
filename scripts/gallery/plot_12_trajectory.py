"""The map of a trajectory
=======================

Cosines between the weights at all pairs of times, of a lazy and of a rich start: rich networks
turn while they learn. The same maps are made of the checkpoints of any training.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmft

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for panel, start, end in zip(axes, (1.0, 0.01), (10.0, 50.0), strict=True):
    times = np.geomspace(end / 100, end, 60)
    problem = dmft.Problem(network={"init_scale": start})
    solution = dmft.solve(problem, t_max=end, n_paths=512, replicates=2)
    cosines = solution.trajectory_map(times=times).map().values
    image = panel.pcolormesh(times, times, cosines, vmin=0, vmax=1, cmap="magma")
    panel.set(title=f"start {start:g}", xlabel=dmft.plotting.TIME_LABEL)
    panel.set(xscale="log", yscale="log", aspect="equal")
figure.colorbar(image, ax=axes, label="cosine")
plt.show()
