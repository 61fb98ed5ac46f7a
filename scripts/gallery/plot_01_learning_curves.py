"""The mean field and finite networks
==================================

Lines are the limit of infinitely many coordinates, points are networks with d = 400, each on
its own random data. Bands and bars are 95 % confidence intervals.
"""

import matplotlib.pyplot as plt

import dmft

problem = dmft.Problem(sampling_ratio=0.5, noise_std=0.1)
solution = dmft.solve(problem, t_max=30.0, n_paths=512)
networks = dmft.simulate(problem, dimension=400, seeds=6, t_max=30.0, points=25)

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
dmft.plotting.plot_curves(solution, ax=axes)
for name, colour in (("train_mse", dmft.plotting.BLUE), ("excess_risk", dmft.plotting.VERMILION)):
    lower, upper = networks.interval(name)
    mean = networks.curves[name].mean
    axes.errorbar(
        networks.time[1:], mean[1:], (upper - lower)[1:] / 2, fmt="o", color=colour, markersize=3.5
    )
axes.set_ylim(1e-4, 3)
axes.set_title("lines: mean field, points: networks of 400 coordinates", fontsize=10)
plt.show()

# %%
# Do they agree? The verdict is a test over curves and kernels.

print(dmft.compare(solution, networks).table().splitlines()[-1])
