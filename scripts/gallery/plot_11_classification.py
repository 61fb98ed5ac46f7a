"""Classification
==============

Signs of a sparse teacher, learnt with the logistic loss from three starts: the error on fresh
data falls further when the start is small.
"""

import matplotlib.pyplot as plt

import dmft

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for start in (0.1, 0.3, 1.0):
    problem = dmft.Problem(
        sampling_ratio=2.0, loss="logistic", labels="sign", network={"init_scale": start},
        dynamics={"kind": "gradient-descent", "step_size": 0.2},
    )  # fmt: skip
    found = dmft.solve(problem, t_max=120, n_paths=512, replicates=2)
    axes.plot(found.time, found.test_error, label=f"start {start:g}")
axes.set(xlabel=dmft.plotting.STEP_LABEL, ylabel="error on fresh data", yscale="log")
axes.legend()
plt.show()
