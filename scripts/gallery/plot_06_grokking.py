"""Grokking
========

A large start under weak weight decay fits its data at once and generalises a thousand times
later, when decay has brought it where a small start would have ended. The dashed line has no
free parameter; the dotted one is the predicted time.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmft
from dmft.theory import drifting_risk, grokking

problem = dmft.Problem(network={"init_scale": 10.0}, dynamics={"weight_decay": 3e-3})
solution = dmft.solve(problem, t_max=2500.0, n_paths=512, replicates=2)
predicted = grokking(problem)
times = np.geomspace(1.0, 2500.0, 40)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
smooth = np.geomspace(solution.time[1], solution.time[-1], 400)
axes.plot(smooth, solution.curve_at("train_mse", smooth), label="training error")
axes.plot(smooth, solution.curve_at("excess_risk", smooth), label="excess risk")
axes.plot(times, drifting_risk(problem, times), "--", color="black", label="prediction")
axes.axvline(predicted.risk_time, color=dmft.plotting.GREY, linestyle=":")
axes.set(xscale="log", yscale="log", xlabel=dmft.plotting.TIME_LABEL, ylim=(1e-6, 3))
axes.set_ylabel("mean squared error")
axes.legend()
plt.show()
