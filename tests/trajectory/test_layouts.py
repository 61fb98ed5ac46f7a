"""Folders as other programs lay them out: the right steps, or a refusal that says why."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.trajectory.series import open_series

torch = pytest.importorskip("torch")


def weights(step):
    rng = np.random.default_rng(step)
    return {"layers.0.weight": rng.standard_normal((3, 4)), "head.bias": rng.standard_normal(2)}


def save(path, step, wrapped=lambda model: model):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **weights(step))
    else:
        model = {name: torch.tensor(values) for name, values in weights(step).items()}
        torch.save(wrapped(model), path)


# names of the files with their steps, what else there is, and what is around the model
LAYOUTS = {
    "megatron": (
        {f"iter_{t:07d}/mp_rank_00/model_optim_rng.pt": t for t in (1000, 900)}, [],
        lambda m: {"model": {"language_model": m}, "optimizer": {"state": torch.ones(3)}},
    ),
    "litgpt": (
        {f"step-{t:08d}/lit_model.pth": t for t in (200, 1000)}, ["final/lit_model.pth"],
        lambda m: {"model": m},
    ),
    "artifacts": ({f"model-abc123:v{t}/model.npz": t for t in (0, 2, 10)}, [], None),
    "mlflow": (
        {f"artifacts/checkpoints/epoch={t}-step={100 * t + 99}/epoch={t}-step={100 * t + 99}.ckpt":
         100 * t + 99 for t in (0, 9, 10)}, [],
        lambda m: {"state_dict": m, "optimizer_states": []},
    ),
    "with the final model": (
        {f"checkpoint-{t}/pytorch_model.bin": t for t in (5, 10, 100)}, ["pytorch_model.bin"],
        lambda m: m,
    ),
    "half-written": (
        {"step1.npz": 1, "step20.npz": 20}, [".step30.npz", "step30_tmp.npz"], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    files, beside, wrapped = LAYOUTS[name]
    for path, step in files.items():
        save(tmp_path / path, step, wrapped)
    for path in beside:
        save(tmp_path / path, 77, wrapped)
    series = open_series(tmp_path)
    assert series.step.tolist() == sorted(files.values())
    for step, row in zip(series.step, series.rows, strict=True):
        expected = weights(int(step))
        assert row.keys() == expected.keys()
        for tensor_name, tensor in row.items():
            room = np.empty(tensor.size * tensor.itemsize, np.uint8)
            assert np.array_equal(tensor.read(0, tensor.size, room), expected[tensor_name].ravel())


@pytest.mark.parametrize(
    "files, words",
    [
        ([f"iter_{t}/mp_rank_{r:02d}/model_optim_rng.pt" for t in (1, 2) for r in (0, 1)],
         "parallel shards.*merge"),
        ([f"step{t}/consolidated.{r:02d}.pth" for t in (1, 2) for r in (0, 1)], "without an index"),
        (["consolidated.00.pth", "consolidated.01.pth"], "'consolidated'"),
        (["snapshots/3fa9c2e/model.npz", "snapshots/77aa12e/model.npz"], "--steps"),
        ([f"seed{s}/step{t}.npz" for s in (0, 1) for t in (1, 2)], "'seed'"),
    ],
)  # fmt: skip
def test_refused_layouts(files, words, tmp_path):
    for number, path in enumerate(files):
        save(tmp_path / path, number)
    with pytest.raises(InputError, match=words) as caught:
        open_series(tmp_path)
    assert "\n" not in str(caught.value)
