"""Speed against generalisation
============================

A smaller start generalises better and takes longer, but not much: the rate falls only like the
square of a logarithm while the excess risk goes to its best value.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmft
from dmft.theory import trade_off

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for ratio, colour in ((0.4, dmft.plotting.BLUE), (0.6, dmft.plotting.ORANGE)):
    problem = dmft.Problem(sampling_ratio=ratio)
    curve = trade_off(problem, np.geomspace(1e-6, 10.0, 71))
    axes.plot(curve.relaxation_rate, curve.excess_risk, color=colour, label=f"n/d = {ratio}")
    for start in (1e-5, 1e-2, 0.1, 1.0, 10.0):
        nearest = np.abs(np.log(curve.init_scale / start)).argmin()
        axes.plot(curve.relaxation_rate[nearest], curve.excess_risk[nearest], "o", color=colour)
        if ratio == 0.4:
            axes.annotate(
                f"start {start:g}",
                (curve.relaxation_rate[nearest], curve.excess_risk[nearest]),
                xytext=(-6, 7), textcoords="offset points", fontsize=9, ha="right",
            )  # fmt: skip
axes.set(xscale="log", xlabel="relaxation rate", ylabel="excess risk at the end")
axes.set_ylim(0, 0.68)
axes.legend(loc="center left")
plt.show()
