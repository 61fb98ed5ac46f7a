"""Runs as training programs leave them give the map of plain arrays; the rest is left out."""

from __future__ import annotations

import argparse
import copy
import json
import warnings

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory.inspection import inspected

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def run():
    """States of a model and of its optimiser along a training."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    states = []
    for _ in range(5):
        net(torch.randn(8, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        model = {name: value.clone() for name, value in net.state_dict().items()}
        states.append((model, copy.deepcopy(optimizer.state_dict())))
    return states


def parameters(model):
    return {n: v.numpy() for n, v in model.items() if "running" not in n and "num_" not in n}


def flat(run):
    return np.array([
        np.concatenate([v.ravel() for v in parameters(model).values()]) for model, _ in run
    ])  # fmt: skip


def prefixed(model, prefix):
    return {prefix + name: value for name, value in model.items()}


def save_distributed(content, path):
    import torch.distributed.checkpoint as distributed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distributed.save(content, checkpoint_id=str(path), no_dist=True)


def deepspeed(model, optimizer, path, step):
    path.mkdir()
    state = {"module": model, "optimizer": None, "global_steps": step}
    torch.save(state, path / "mp_rank_00_model_states.pt")
    torch.save(
        {"optimizer_state_dict": optimizer}, path / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    )


# how a training program writes (model, optimiser, path, step), and the ending of the name
WRITERS = {
    "plain": (lambda m, o, p, t: torch.save(m, p), ".pt"),
    "any key": (lambda m, o, p, t: torch.save({"foo": m, "bar": o, "epoch": t}, p), ".pt"),
    "net": (lambda m, o, p, t: torch.save({"net": m, "optimizer": o, "acc": 0.5}, p), ".pth"),
    "counter": (lambda m, o, p, t: torch.save({"net": m, "step": torch.tensor(t)}, p), ".pt"),
    "timm": (
        lambda m, o, p, t: torch.save(
            {"state_dict": m, "state_dict_ema": m, "optimizer": o, "epoch": t, "arch": "x",
             "args": argparse.Namespace(lr=0.1)}, p,
        ),
        ".pth.tar",
    ),
    "nanoGPT": (
        lambda m, o, p, t: torch.save(
            {"model": prefixed(m, "_orig_mod."), "optimizer": o, "model_args": {"n_layer": 1},
             "iter_num": t, "best_val_loss": torch.tensor(0.3), "config": {"lr": 0.1}}, p,
        ),
        ".pt",
    ),
    "nested": (
        lambda m, o, p, t: torch.save(
            {"state": {"model": m, "opt": o}, "rng": torch.get_rng_state()}, p
        ),
        ".pt",
    ),
    "parallel": (lambda m, o, p, t: torch.save(prefixed(m, "module.") if t % 2 else m, p), ".pt"),
    "lightning": (
        lambda m, o, p, t: torch.save({"state_dict": prefixed(m, "model.") if t else m}, p),
        ".ckpt",
    ),
    "sparse": (
        lambda m, o, p, t: torch.save({**m, "0.weight": m["0.weight"].to_sparse()}, p),
        ".pt",
    ),
    "transposed": (
        lambda m, o, p, t: torch.save(
            {**m, "tied.weight": m["0.weight"].t(), "rows": m["0.weight"][:2]}, p
        ),
        ".pt",
    ),
    "buffers": (
        lambda m, o, p, t: torch.save(
            {**m, "a.masked_bias": torch.tensor(-1e9), "mask": torch.full((3, 3), -torch.inf),
             "constant": torch.ones(7)}, p,
        ),
        ".pt",
    ),
    "distributed": (lambda m, o, p, t: save_distributed({"model": m, "optimizer": o}, p), ""),
    "deepspeed": (deepspeed, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
def test_the_map_is_that_of_plain_arrays(run, tmp_path, kind):
    write, ending = WRITERS[kind]
    for t, (model, optimizer) in enumerate(run):
        write(model, optimizer, tmp_path / f"step{t}{ending}", t)
    found = trajectory.of_checkpoints(tmp_path).trajectory()
    exact = trajectory.of_arrays(flat(run))
    assert found.parameters == exact.parameters
    assert np.abs(found.map().values - exact.map().values).max() < 1e-12
    report = inspected(tmp_path)
    assert report.to_dict()["steps"] == list(range(5))
    assert "steps        0, 1, 2, 3, 4" in report.table()


def test_safetensors_with_integers_booleans_and_optimiser(run, tmp_path):
    reference = pytest.importorskip("safetensors.torch")
    for t, (model, optimizer) in enumerate(run):
        moments = {f"optimizer.state.{i}.exp_avg": s["exp_avg"]
                   for i, s in optimizer["state"].items()}  # fmt: skip
        more = {"position": torch.arange(4), "keep": torch.ones(2, dtype=torch.bool)}
        reference.save_file({**model, **more, **moments}, tmp_path / f"{t}.safetensors")
    grams = trajectory.of_checkpoints(tmp_path)
    exact = trajectory.of_arrays(flat(run))
    assert np.abs(grams.trajectory().map().values - exact.map().values).max() < 1e-12
    assert grams.skipped["keep"] == "integers"
    assert grams.skipped["optimizer.state.0.exp_avg"] == "optimiser state"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_float8(tmp_path, dtype, form):
    values = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)) * 20
    stored = values.to(getattr(torch, dtype))
    for t, row in enumerate(stored):
        if form == "pt":
            torch.save({"a": row.clone()}, tmp_path / f"{t}.pt")
        else:
            pytest.importorskip("safetensors.torch").save_file(
                {"a": row.clone()}, tmp_path / f"{t}.safetensors"
            )
    exact = trajectory.of_arrays(stored.double().numpy())
    assert np.array_equal(trajectory.of_checkpoints(tmp_path).trajectory().kernel, exact.kernel)


def test_all_patterns_of_float8():
    from dmft.trajectory.readers.tensor import as_float

    bits = np.arange(256, dtype=np.uint8)
    for dtype in ("float8_e4m3fn", "float8_e5m2"):
        reference = torch.from_numpy(bits.copy()).view(getattr(torch, dtype)).float().numpy()
        assert np.array_equal(as_float(bits, dtype), reference, equal_nan=True)


def save(folder, contents, ending="pt"):
    for t, content in enumerate(contents):
        torch.save(content, folder / f"step{t}.{ending}")


def test_opposite_tensors_are_not_tied(tmp_path):
    walk = [torch.randn(5, 4) for _ in range(4)]
    save(tmp_path, [{"q": w, "p": -w, "r": w.clone()} for w in walk])
    grams = trajectory.of_checkpoints(tmp_path, cache=tmp_path / "c.h5")
    assert grams.tied == ("r",)
    assert [part.tensor for part in grams.parts] == ["q", "p"]
    assert trajectory.of_checkpoints(tmp_path, cache=tmp_path / "c.h5").tied == ("r",)
    assert trajectory.of_checkpoints(tmp_path, sketch=True).tied == ("r",)


def test_what_never_moves_is_left_out_and_listed(tmp_path):
    save(tmp_path, [{"a": torch.full((3,), float(t + 1)), "b": torch.ones(4)} for t in range(3)])
    for sketch in (False, True):
        grams = trajectory.of_checkpoints(tmp_path, sketch=sketch)
        assert grams.skipped == {"b": "never moves"}
        assert grams.trajectory().parameters == 3


def test_two_models_and_keys(run, tmp_path):
    save(tmp_path, [{"model": m, "teacher": m, "optimizer": o} for m, o in run])
    with pytest.raises(InputError, match=r"two models of the same tensors \(model, teacher\)"):
        trajectory.of_checkpoints(tmp_path)
    assert trajectory.of_checkpoints(tmp_path, key="teacher").trajectory().parameters == 63
    moments = trajectory.of_checkpoints(tmp_path, key="optimizer")
    assert any(part.tensor.endswith("exp_avg") for part in moments.parts)
    with pytest.raises(InputError, match="has no entry 'nothing', there are model, teacher"):
        trajectory.of_checkpoints(tmp_path, key="nothing")


def test_a_file_of_the_optimiser_alone(run, tmp_path):
    save(tmp_path, [{"optimizer": o} for _, o in run])
    with pytest.raises(InputError, match="no model .optimizer: optimiser state.*--key"):
        trajectory.of_checkpoints(tmp_path)


def test_tensors_that_are_missing_somewhere_may_be_excluded(tmp_path):
    save(tmp_path, [{"a": torch.ones(3) * t, **({"x": torch.ones(2)} if t else {})}
                    for t in range(3)])  # fmt: skip
    with pytest.raises(InputError, match="'x' is not in .*step0.pt; --exclude"):
        trajectory.of_checkpoints(tmp_path)
    assert trajectory.of_checkpoints(tmp_path, exclude=["x"]).trajectory().parameters == 3


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(3, dtype=torch.complex64), "complex64"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
    ],
)
def test_numbers_that_are_not_read(tmp_path, tensor, words):
    save(tmp_path, [{"a": torch.ones(3) * t, "q": tensor} for t in range(3)])
    with pytest.raises(InputError, match=f"tensor 'q' is of type {words}"):
        trajectory.of_checkpoints(tmp_path)
    assert trajectory.of_checkpoints(tmp_path, exclude=["q"]).trajectory().parameters == 3


def test_a_pickle_as_data_calls_nothing(tmp_path):
    import pickle

    from dmft.trajectory.readers.plainpickle import parsed

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code in a checkpoint was run",))

    found = parsed(pickle.dumps({"a": Bomb(), "b": [1, (2.5, None)]}), "here")
    assert found["b"] == [1, (2.5, None)]
    assert found["a"].name.endswith("_Fail")
    with pytest.raises(InputError, match="damaged"):
        parsed(b"\x80\x04garbage", "here")


def test_a_run_inside_folders(run, tmp_path):
    place = tmp_path / "logs" / "version_0" / "checkpoints"
    place.mkdir(parents=True)
    for t, (model, _) in enumerate(run):
        torch.save({"state_dict": model}, place / f"epoch={t}-loss=0.{t}.ckpt")
    torch.save({"state_dict": run[-1][0]}, place / "last.ckpt")
    found = inspected(tmp_path).to_dict()
    assert found["steps"] == [0, 1, 2, 3, 4]
    assert found["left_out"]["last.ckpt"] == "no step in its name"


def test_zero_stage_3_names_the_script_that_converts(tmp_path):
    for t in range(2):
        folder = tmp_path / f"global_step{t}"
        folder.mkdir()
        torch.save({}, folder / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    with pytest.raises(InputError, match=r"zero_to_fp32\.py"):
        trajectory.of_checkpoints(tmp_path)


def test_orbax_names_its_library(tmp_path):
    for t in range(2):
        (tmp_path / f"{t}").mkdir()
        (tmp_path / f"{t}" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(InputError, match="manifest.ocdbt, which its own library has to convert"):
        trajectory.of_checkpoints(tmp_path)


def adapter(folder, rank, alpha, matrices, **more):
    reference = pytest.importorskip("safetensors.torch")
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    a, b = matrices
    names = ("base_model.model.h.0.q.lora_A.weight", "base_model.model.h.0.q.lora_B.weight")
    reference.save_file(dict(zip(names, (a, b), strict=True)), folder / "adapter_model.safetensors")


@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_are_their_product(tmp_path, rslora):
    pairs = [(torch.randn(2, 6), torch.randn(5, 2)) for _ in range(4)]
    for t, pair in enumerate(pairs):
        adapter(tmp_path / f"checkpoint-{t}", 2, 8, pair, use_rslora=rslora)
    scale = 8 / (np.sqrt(2) if rslora else 2)
    exact = trajectory.of_arrays(
        np.array([scale * (b.double() @ a.double()).numpy() for a, b in pairs])
    )
    grams = trajectory.of_checkpoints(tmp_path)
    assert grams.trajectory().gram == pytest.approx(exact.gram, rel=1e-12)
    assert [part.tensor for part in grams.parts] == ["base_model.model.h.0.q.weight"]


def same_map(run, found):
    exact = trajectory.of_arrays(flat(run))
    assert found.parameters == exact.parameters
    assert np.abs(found.map().values - exact.map().values).max() < 1e-12


def in_folders(run, place, *names):
    for t, (model, _) in enumerate(run):
        for name in names:
            (place / f"checkpoint-{100 * t}" / name).mkdir(parents=True)
            torch.save(model, place / f"checkpoint-{100 * t}" / name / "model.pt")


def test_a_model_beside_its_average_in_folders(run, tmp_path):
    in_folders(run, tmp_path, "unet", "unet_ema")
    same_map(run, trajectory.of_checkpoints(tmp_path).trajectory())
    found = inspected(tmp_path).to_dict()
    assert found["steps"] == [0, 100, 200, 300, 400]
    assert found["left_out"] == {"unet_ema": "averaged copies"}


def test_several_models_in_each_checkpoint(run, tmp_path):
    in_folders(run, tmp_path, "encoder", "unet")
    with pytest.raises(InputError, match=r"several models \(encoder, unet\).*/\*/encoder"):
        trajectory.of_checkpoints(tmp_path)
    same_map(run, trajectory.of_checkpoints(sorted(tmp_path.glob("*/unet"))).trajectory())


def stages(run, place, shard="00"):
    for t, (model, _) in enumerate(run):
        folder = place / f"global_step{t}"
        folder.mkdir(exist_ok=True)
        torch.save({"module": None, "global_steps": t}, folder / "mp_rank_00_model_states.pt")
        for layer in "012":  # the names begin anew in every file
            part = {n[2:]: v for n, v in model.items() if n.startswith(layer)}
            torch.save(part, folder / f"layer_0{layer}-model_{shard}-model_states.pt")


def test_stages_of_a_pipeline(run, tmp_path):
    stages(run, tmp_path)
    grams = trajectory.of_checkpoints(tmp_path)
    same_map(run, grams.trajectory())
    assert "layer_02.weight" in [part.tensor for part in grams.parts]
    stages(run, tmp_path, shard="01")
    with pytest.raises(InputError, match="tensor-parallel shards"):
        trajectory.of_checkpoints(tmp_path)
