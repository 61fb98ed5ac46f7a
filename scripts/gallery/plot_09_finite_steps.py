"""Steps and batches
=================

Gradient descent with a small step follows the flow; mini-batches add noise, which slows the
last part of training down and moves where it ends. Time is the number of steps times their
size.
"""

import matplotlib.pyplot as plt

import dmft

size = 0.1
base = dmft.Problem()
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
flow = dmft.solve(base, t_max=12.0, n_paths=512, replicates=2)
axes.plot(flow.time, flow.excess_risk, color=dmft.plotting.GREY, linewidth=4, label="flow")
kinds = {
    "gradient descent": {"kind": "gradient-descent", "step_size": size},
    "batches of a tenth": {"kind": "sgd", "step_size": size, "batch_fraction": 0.1},
}
for name, dynamics in kinds.items():
    found = dmft.solve(base.replace(dynamics=dynamics), t_max=120, n_paths=512, replicates=2)
    axes.plot(size * found.time, found.excess_risk, label=name)
axes.set(xlabel=dmft.plotting.TIME_LABEL, ylabel="excess risk", yscale="log")
axes.legend()
plt.show()
