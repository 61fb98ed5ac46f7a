"""A phase diagram
===============

The excess risk at the end of training from a small start, over the sampling ratio and the
density of the teacher. Right of the line, least l1 norm recovers the teacher exactly when there is
no noise.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import dmft
from dmft.theory import l1_transition, predict

ratios = np.linspace(0.1, 0.95, 12)
densities = np.linspace(0.02, 0.6, 9)
base = dmft.Problem(noise_std=0.05, network={"init_scale": 0.01})


def at(ratio: float, density: float) -> dmft.Problem:
    """The problem of one point."""
    return base.replace(sampling_ratio=float(ratio), **{"teacher.density": float(density)})


risk = np.array([[predict(at(r, p)).excess_risk for r in ratios] for p in densities])
line = [l1_transition(at(0.5, density)) for density in densities]

figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
image = axes.pcolormesh(ratios, densities, risk, norm=LogNorm(), cmap="viridis", shading="nearest")
axes.plot(line, densities, color="white", linewidth=2)
axes.set(xlabel="sampling ratio n/d", ylabel="density of the teacher", xlim=(0.1, 0.95))
figure.colorbar(image, label="excess risk at the end")
plt.show()
