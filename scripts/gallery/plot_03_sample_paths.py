"""Incremental learning
====================

With a small start, weights wait at zero until the force that has accumulated on them releases
them: large coefficients first. These are paths of the effective process, a single coordinate in
the mean field of all others.
"""

import matplotlib.pyplot as plt

import dmft

problem = dmft.Problem(sampling_ratio=0.6, network={"init_scale": 1e-3})
solution = dmft.solve(problem, t_max=60.0, n_paths=512, replicates=2)

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
paths = solution.paths
large = max(abs(paths.teacher))
for teacher, weights in zip(paths.teacher, paths.weights, strict=True):
    share = abs(teacher) / large
    axes.plot(solution.time, weights, color=plt.cm.viridis(0.9 * (1 - share)), linewidth=1.2)
axes.set(
    xlabel=dmft.plotting.TIME_LABEL,
    ylabel="weight",
    title="dark: large coefficients of the teacher, bright: small or none",
)
plt.show()
