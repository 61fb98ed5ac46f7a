"""Small solves, simulations and predictions whose every array must stay what it is.

`python tests/golden/cases.py` writes `golden.npz` and `flow.checkpoint.h5` anew: only where a
result is meant to change, and with a line in CHANGELOG.md that says which and why.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import dmft

HERE = Path(__file__).parent
DIGEST = "digest"  # of all arrays of a case, also those that are not kept
GOLDEN, CHECKPOINT = HERE / "golden.npz", HERE / "flow.checkpoint.h5"

_FLOW = {"t_max": 3.0, "n_paths": 128, "replicates": 2, "rtol": 1e-2, "threads": 2}
RESUMED = {"t_max": 0.5, "n_paths": 128, "replicates": 2, "rtol": 1e-2}
_STEPS = {"t_max": 12, "n_paths": 128, "replicates": 2, "threads": 2}
_STOCHASTIC = {"kind": "stochastic-gradient-flow", "step_size": 0.05, "batch_fraction": 0.1}
_SGD = {"kind": "sgd", "step_size": 0.05, "batch_fraction": 0.2}

# name: problem, settings of the solve
SOLVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "flow": ({}, _FLOW),
    "flow-one-thread": ({}, {**_FLOW, "threads": 1, "n_paths": 600}),
    "flow-two-threads": ({}, {**_FLOW, "threads": 2, "n_paths": 600}),
    "flow-precise": ({}, {**_FLOW, "rtol": 1e-6, "t_max": 0.3, "replicates": 1}),
    "flow-target": ({}, {**_FLOW, "target_error": 0.02, "max_replicates": 3}),
    "depth-3": ({"network": {"depth": 3}}, _FLOW),
    "depth-3-decay": ({"network": {"depth": 3}, "dynamics": {"weight_decay": 0.1}}, _FLOW),
    "decay": ({"dynamics": {"weight_decay": 0.1}}, _FLOW),
    "unbalanced": (
        {"network": {"init_u": {"kind": "gaussian", "std": 0.5}, "init_v": 0.2}},
        _FLOW,
    ),
    "features": (
        {"features": {"kind": "discrete", "values": [0.5, 1.5], "weights": [0.5, 0.5]}},
        _FLOW,
    ),
    "power-law": (
        {"features": {"kind": "power-law", "exponent": 1.5}, "teacher": {"kind": "gaussian"}},
        _FLOW,
    ),
    "linear": ({"network": {"kind": "linear"}, "sampling_ratio": 1.5}, _FLOW),
    "linear-decay": ({"network": {"kind": "linear"}, "dynamics": {"weight_decay": 0.1}}, _FLOW),
    "gradient-descent": ({"dynamics": {"kind": "gradient-descent"}}, _STEPS),
    "gradient-descent-depth-3": (
        {"network": {"depth": 3}, "dynamics": {"kind": "gradient-descent", "weight_decay": 0.1}},
        _STEPS,
    ),
    "gradient-descent-diverges": (
        {"dynamics": {"kind": "gradient-descent", "step_size": 2.0}},
        _STEPS,
    ),
    "sgd-independent": ({"dynamics": {**_SGD, "label_noise_std": 0.2}}, _STEPS),
    "sgd-without-replacement": (
        {"dynamics": {**_SGD, "sampling": "without-replacement"}},
        _STEPS,
    ),
    "sgd-with-replacement": (
        {"network": {"kind": "linear"}, "dynamics": {**_SGD, "sampling": "with-replacement"}},
        _STEPS,
    ),
    "stochastic-flow": ({"dynamics": _STOCHASTIC}, {**_FLOW, "t_max": 1.0}),
    "stochastic-flow-linear": (
        {"network": {"kind": "linear"}, "dynamics": {**_STOCHASTIC, "weight_decay": 0.1}},
        {**_FLOW, "t_max": 1.0},
    ),
}
_RUNS = {"dimension": 24, "seeds": 3, "t_max": 4.0, "points": 5}
SIMULATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "simulated-flow": ({}, _RUNS),
    "simulated-depth-3": (
        {"network": {"depth": 3}, "dynamics": {"weight_decay": 0.1}},
        {**_RUNS, "stratified": False},
    ),
    "simulated-linear": ({"network": {"kind": "linear"}}, {**_RUNS, "design": "sparse"}),
    "simulated-descent": ({"dynamics": {"kind": "gradient-descent"}}, _RUNS),
    **{
        f"simulated-sgd-{sampling}": ({"dynamics": {**_SGD, "sampling": sampling}}, _RUNS)
        for sampling in ("independent", "without-replacement", "with-replacement")
    },
}
PREDICTIONS: dict[str, dict[str, Any]] = {
    "predicted": {},
    "predicted-depth-3": {"network": {"depth": 3}},
    "predicted-decay": {"network": {"depth": 3}, "dynamics": {"weight_decay": 0.05}},
    "predicted-linear": {"network": {"kind": "linear"}},
}
CURVES = ("train_mse", "excess_risk", "mean_charge", "effective_alpha")
KERNELS = (
    "correlation_error", "correlation_residual", "response_weights", "response_residual", "overlap",
)  # fmt: skip


def machine() -> str:
    """What equality bit for bit may depend on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), model)
    libraries = {name: version(name) for name in ("numpy", "numba", "scipy")}
    return json.dumps([model, platform.machine(), platform.python_version(), libraries])


def compute() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Name and arrays of every case, one after the other."""
    for name, (problem, settings) in SOLVES.items():
        yield name, of_solution(dmft.solve(dmft.Problem(**problem), **settings))
    for name, (problem, settings) in SIMULATIONS.items():
        yield name, of_simulation(dmft.simulate(dmft.Problem(**problem), **settings))
    for name, problem in PREDICTIONS.items():
        yield name, of_prediction(dmft.theory.predict(dmft.Problem(**problem)))


def of_solution(solution: Any) -> dict[str, np.ndarray]:
    """Curves, the last row of every kernel, work, and a digest of all arrays."""
    kernels, paths = solution.kernels, solution.paths
    whole = {f"kernels.{name}": getattr(kernels, name) for name in KERNELS}
    whole |= {
        f"kernels.{name}_stderr": getattr(kernels, f"{name}_stderr", None) for name in KERNELS
    }
    whole |= {f"paths.{name}": getattr(paths, name) for name in ("weights", "force", "teacher")}
    whole |= _of_curves(solution, "replicate_train_mse", "replicate_excess_risk", "panel")
    whole["quadrature_weights"] = kernels.quadrature_weights
    work = np.array([solution.work[name] for name in sorted(solution.work)])
    return {**_kept(whole), "work": work}


def of_simulation(simulation: Any) -> dict[str, np.ndarray]:
    names = ("correlation_error", "correlation_residual", "overlap")
    whole = {f"kernels.{name}": getattr(simulation.kernels, name) for name in names}
    errors = {f"{name}_stderr" for name in names}
    whole |= {f"kernels.{name}": getattr(simulation.kernels, name) for name in sorted(errors)}
    return _kept(whole | _of_curves(simulation, "seed_train_mse", "seed_excess_risk"))


def of_prediction(prediction: Any) -> dict[str, np.ndarray]:
    numbers = {
        name: np.array(value)
        for name, value in sorted(vars(prediction).items())
        if isinstance(value, float)
    }
    return _kept(numbers)


def _of_curves(result: Any, *more: str) -> dict[str, Any]:
    names = ["time", *CURVES, *(f"{name}_stderr" for name in CURVES), *more]
    return {name: getattr(result, name) for name in names}


def _kept(whole: dict[str, Any]) -> dict[str, np.ndarray]:
    kept, digest = {}, hashlib.blake2b(digest_size=16)
    for name, values in whole.items():
        if values is None:
            continue
        array = np.ascontiguousarray(values, dtype=float)
        digest.update(name.encode() + array.tobytes())
        if "." not in name and not name.endswith("_stderr"):
            kept[name] = array[-1] if array.ndim == 2 else array
        elif name.startswith("kernels.") and not name.endswith("_stderr"):
            kept[name] = array[-1]
    return {**kept, DIGEST: np.frombuffer(digest.digest(), dtype=np.uint8)}


def interrupted(after: int, settings: dict[str, Any], **problem: Any) -> dict[str, Any]:
    """The state of a solve that is stopped after some panels or steps."""
    states: list[dict[str, Any]] = []
    polls = iter(range(1, 10**6))

    def stop() -> bool:
        return next(polls) == after

    try:
        dmft.solve(dmft.Problem(**problem), **settings, checkpoint=states.append, stop=stop)
    except dmft.Interrupted:
        return states[-1]
    raise AssertionError("not interrupted")


def _write() -> None:
    arrays = {f"{name}/{key}": a for name, found in compute() for key, a in found.items()}
    resumed = of_solution(dmft.solve(dmft.Problem(), **RESUMED))
    arrays |= {f"resumed/{key}": values for key, values in resumed.items()}
    np.savez_compressed(GOLDEN, machine=np.array(machine()), **arrays)
    from dmft.config import Config
    from dmft.store import save_checkpoint

    config = Config(solver=RESUMED)
    panels = int(dmft.solve(dmft.Problem(), **RESUMED).panel[-1]) + 1  # stop in replicate 2
    save_checkpoint(CHECKPOINT, config, interrupted(5 * panels // 2, RESUMED), "golden")
    print(GOLDEN.stat().st_size, CHECKPOINT.stat().st_size)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _write()
