"""Double descent, and how to avoid it
===================================

With as many samples as coordinates the excess risk of an unregularised student has a peak. A
sparse student has a lower one below it, and weight decay removes it. With more samples than
coordinates, students without decay all end at least squares.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmft
from dmft.theory import predict

ratios = np.concatenate([np.linspace(0.1, 0.97, 25), np.linspace(1.03, 3.0, 25)])
students = {
    "linear": dmft.Problem(noise_std=0.3, network="linear"),
    "product, start 0.1": dmft.Problem(noise_std=0.3, network={"init_scale": 0.1}),
    "product, weight decay 0.3": dmft.Problem(noise_std=0.3, dynamics={"weight_decay": 0.3}),
}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, student in students.items():
    risks = [predict(student.replace(sampling_ratio=float(r))).excess_risk for r in ratios]
    if student.dynamics.weight_decay == 0.0:
        risks[24:25] = [np.nan]  # a line has no business across the peak
    axes.plot(ratios, risks, linestyle="--" if "start" in name else "-", label=name)
axes.set(yscale="log", xlabel="sampling ratio n/d", ylabel="excess risk at the end")
axes.legend()
plt.show()
