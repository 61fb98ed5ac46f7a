"""From lazy to rich
=================

Where training ends depends on its start. Large starts end at the interpolator of least squared
norm, small ones at that of least l1 norm, which knows that the teacher is sparse. Limits are
found without a solve.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmft
from dmft.theory import basis_pursuit, minimum_l2, predict

starts = np.geomspace(1e-4, 30.0, 40)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for depth, colour in ((2, dmft.plotting.BLUE), (3, dmft.plotting.GREEN)):
    base = dmft.Problem(network={"depth": depth})
    risks = [predict(base.replace(**{"network.init_scale": start})).excess_risk for start in starts]
    axes.plot(starts, risks, color=colour, label=f"depth {depth}")
axes.axhline(minimum_l2(base).excess_risk, color=dmft.plotting.GREY, linestyle="--")
axes.text(starts[0], minimum_l2(base).excess_risk, "least squared norm", va="bottom")
axes.axhline(basis_pursuit(base).excess_risk, color=dmft.plotting.GREY, linestyle=":")
axes.text(starts[-1], basis_pursuit(base).excess_risk, "least l1 norm", va="bottom", ha="right")
axes.set(xscale="log", xlabel="start", ylabel="excess risk at the end", ylim=(0, 0.58))
axes.legend()
plt.show()
