"""Tracking: exact predictions, what breaks laws, files, figures, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.conservation import laws, track
from dmft.conservation.models import load_record
from dmft.conservation.models.checks import in_double
from dmft.errors import InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

RULES = {
    "sgd": {"lr": 0.5},
    "weight decay": {"lr": 0.1, "weight_decay": 0.1},
    "momentum": {"lr": 0.1, "momentum": 0.9},
    "all": {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    "Nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "Nesterov, weight decay": {
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
    },
}


def train(made, optimizer, steps=30, every=1, seed=0, **options):
    model, loss, batches = made
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for p in model.parameters():
            noise = (
                torch.from_numpy(rng.standard_normal(p.shape)) / max(p.shape[-1:] or (1,)) ** 0.5
            )
            p.copy_(noise.to(p.dtype))
    opt = optimizer(model.parameters())
    with track(model, opt, every=every, **options) as tracker:
        for step in range(steps):
            opt.zero_grad()
            with in_double():
                loss(model, batches[step]).backward()
            opt.step()
    return tracker.record()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mlp", "resnet", "gpt2"])
def test_the_drift_is_as_predicted_at_any_step_size(zoo, name, rule):
    record = train(zoo[name](), lambda p: torch.optim.SGD(p, **RULES[rule]))
    assert record.residual.max() < 1e-13 and record.unexplained.max() < 1e-12
    assert record.forecast_residual.max() < 1e-13
    degrees = np.array([law.degree for law in laws(zoo[name]()[0])])
    moved = record.drift[-1]
    if "weight_decay" not in RULES[rule]:
        assert moved[degrees == 1].max(initial=0) < 1e-13  # linear laws are exact
        assert moved[degrees == 2].min() > 1e-5
        np.testing.assert_allclose(record.explained[-1], moved, atol=1e-12)
    assert np.all(record.drift[0] == 0) and record.steps[-1] == 30


@pytest.mark.parametrize("rule", RULES)
def test_the_forecast_holds_while_a_loss_is_maximised(zoo, rule):
    settings = {**RULES[rule], "lr": 1e-3, "maximize": True}
    record = train(zoo["mlp"](), lambda p: torch.optim.SGD(p, **settings), steps=10)
    assert record.drift[-1].max() > 1e-7 and record.forecast_residual.max() < 1e-13


def test_weight_decay_is_divided_out(zoo):
    record = train(zoo["swiglu"](), lambda p: torch.optim.SGD(p, lr=1e-3, weight_decay=5.0), 200)
    assert record.adjusted_drift[-1].max() < 0.01 * record.drift[-1].max()


@pytest.mark.parametrize("name", ["AdamW", "Adam", "RMSprop"])
def test_adaptive_steps_break_laws_in_first_order(zoo, name):
    record = train(zoo["swiglu"](), lambda p: getattr(torch.optim, name)(p, lr=1e-2))
    # What the forecast lacks is 2 f B(theta, delta); what was applied explains all but rounding.
    assert record.forecast_residual.max() > 1e-3 and record.residual.max() < 1e-13
    assert record.drift[-1].max() > 2 * record.forecast[-1].max()


def test_residual_of_other_optimisers_is_the_first_order(zoo):
    """Against autograd: h(theta') = f^2 h + 2 f B(theta, delta) + h(delta)."""
    model, loss, batches = zoo["swiglu"]()
    (law,) = laws(model).laws
    opt = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.3)
    with track(model, opt) as tracker:
        loss(model, batches[0]).backward()
        before = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
        opt.step()
        after = dict(model.named_parameters())
        factor = 1 - 1e-2 * 0.3
        delta = {n: (after[n] - factor * before[n]).detach() for n in before}
        slopes = []
        for value in law.evaluate(before):
            grads = torch.autograd.grad(value, list(before.values()), retain_graph=True,
                                        allow_unused=True)  # fmt: skip
            slopes.append(sum((g * delta[n]).sum() for g, n in zip(grads, before, strict=True)
                              if g is not None))  # fmt: skip
        first_order = factor * torch.stack(slopes)
        record = tracker.record()
        size = tracker._size[0]
    expected = float((first_order.abs().max() / size).detach())
    assert record.forecast_residual[-1, 0] == pytest.approx(expected, rel=1e-9)


def test_groups_with_different_settings_are_marked(zoo):
    def optimizer(parameters):
        first, *others = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.05}, {"params": others}], lr=0.1)

    record = train(zoo["mlp"](), optimizer)
    assert record.mixed == ("neurons 0-2",) and "different settings" in record.table()
    worst = dict(zip(record.names, record.forecast_residual.max(axis=0), strict=True))
    assert worst["neurons 0-2"] > 1e-4 and worst["balance 2-3"] < 1e-13
    assert record.residual.max() < 1e-13


def test_changes_between_steps_are_not_blamed_on_the_optimiser(zoo):
    model, loss, batches = zoo["swiglu"]()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with track(model, opt) as tracker:
        for step in range(3):
            with torch.no_grad():
                model.up.weight.mul_(1.1)
            opt.zero_grad()
            loss(model, batches[step]).backward()
            opt.step()
    assert tracker.record().residual.max() < 1e-14
    loss(model, batches[0]).backward()
    opt.step()
    assert tracker.record().steps[-1] == 3  # closed


def test_single_precision_is_at_its_own_rounding(zoo):
    model, loss, batches = zoo["mlp"]()
    single = [tuple(x.float() for x in batch) for batch in batches]
    record = train((model.float(), loss, single), lambda p: torch.optim.SGD(p, lr=0.1))
    assert 1e-9 < record.residual.max() < 1e-5 and record.precision == "float32"


def test_file_figure_and_table(zoo, tmp_path):
    record = train(zoo["gpt2"](), lambda p: torch.optim.SGD(p, lr=0.1), steps=20, every=5)
    assert record.steps.tolist() == [0, 5, 10, 15, 20]
    path = tmp_path / "laws.h5"
    record.save(path)
    again = load_record(path)
    assert again.names == record.names and again.settings == record.settings
    np.testing.assert_array_equal(again.drift, record.drift)
    np.testing.assert_array_equal(again.baseline_drift, record.baseline_drift)
    with pytest.raises(InputError, match="exists already"):
        record.save(path)
    record.save(path, overwrite=True)
    record.plot(tmp_path / "laws.png")
    assert (tmp_path / "laws.png").stat().st_size > 10_000
    lines = record.table().splitlines()
    assert len(lines) == 2 + len(record.names) and lines[0] == "after 20 steps of SGD, float64"
    every = train(zoo["gpt2"](), lambda p: torch.optim.SGD(p, lr=0.1), steps=20)
    np.testing.assert_allclose(every.explained[::5], record.explained, rtol=1e-9, atol=1e-15)


def test_foreign_files_are_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["schema"] = "something"
    wanted = "holds a 'something', must be a record of tracked conservation laws"
    with pytest.raises(InputError, match=wanted):
        load_record(tmp_path / "other.h5")


def test_work_of_tracking_is_linear_in_the_parameters():
    """Operations counted by PyTorch, per parameter and step, against those of training."""
    from torch.utils.flop_counter import FlopCounterMode

    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=500, hidden_size=128, intermediate_size=344, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    opt = torch.optim.SGD(model.parameters(), lr=0.01)
    x = torch.randint(500, (4, 64))
    with FlopCounterMode(display=False) as training:
        model(input_ids=x, labels=x).loss.backward()
    with track(model, opt), FlopCounterMode(display=False) as tracking:
        opt.step()
    assert 0 < tracking.get_total_flops() < 0.2 * training.get_total_flops()


def test_mistakes(zoo):
    model, _, _ = zoo["mlp"]()
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="given 0, must be at least 1"):
        track(model, opt, every=0)
    with pytest.raises(InputError, match=r"does not train 2\.weight"):
        track(model, torch.optim.SGD(model[0].parameters(), lr=0.1))
    with pytest.raises(InputError, match="without recognised laws"):
        track(torch.nn.Linear(2, 2), opt)
    with pytest.raises(InputError, match="float16, tracking needs float32 or float64"):
        track(model.half(), opt)


class SignMomentum(torch.optim.Optimizer):
    """Like Lion: the sign of a mean of gradients."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    mean.mul_(0.9).add_(p.grad, alpha=0.1)
                    p.sub_(group["lr"] * mean.sign())


class Orthogonal(SignMomentum):
    """Like Muon: matrices move along the polar factor of their gradient."""

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    step = p.grad
                    if p.ndim == 2:
                        u, _, v = torch.linalg.svd(p.grad, full_matrices=False)
                        step = u @ v
                    p.sub_(group["lr"] * step)


OPTIMISERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-2),
    "Lion": lambda p: SignMomentum(p, lr=1e-2),
    "Muon": lambda p: Orthogonal(p, lr=1e-2),
}


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_applied_step_explains_the_drift_of_every_optimiser(zoo, name, closure, clipped):
    if closure and name in ("Lion", "Muon"):
        pytest.skip("their step takes no closure")
    model, loss, batches = zoo["mlp"]()
    opt = OPTIMISERS[name](model.parameters())
    with track(model, opt) as tracker:
        for batch in batches[:20]:

            def evaluate(batch=batch):
                opt.zero_grad()
                value = loss(model, batch)
                value.backward()
                if clipped:
                    torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
                return value

            if closure:
                opt.step(evaluate)
            else:
                evaluate()
                opt.step()
    record = tracker.record()
    assert record.drift[-1].max() > 1e-6
    assert record.residual.max() < 1e-13 and record.unexplained.max() < 1e-12
    if name in ("SGD", "momentum", "Nesterov") and not clipped:
        assert record.forecast_residual.max() < 1e-13


def test_masters_in_float32_of_weights_in_bfloat16(zoo):
    """The masters are what is trained and tracked; their gradients are only as exact as theirs."""
    import copy

    model, loss, batches = zoo["mlp"]()
    masters = model.float()
    low = copy.deepcopy(masters).bfloat16()
    opt = torch.optim.SGD(masters.parameters(), lr=0.1)
    with track(masters, opt) as tracker:
        for batch in batches[:20]:
            low.zero_grad()
            loss(low, tuple(x.bfloat16() for x in batch)).backward()
            with torch.no_grad():
                for master, weight in zip(masters.parameters(), low.parameters(), strict=True):
                    master.grad = weight.grad.float()
            opt.step()
            low.load_state_dict(masters.state_dict())
    record = tracker.record()
    assert record.precision == "float32" and record.residual.max() < 1e-6
    assert 1e-6 < record.forecast_residual.max() < 1e-2
    with pytest.raises(InputError, match="bfloat16, tracking needs float32 or float64"):
        track(low, torch.optim.SGD(low.parameters(), lr=0.1))


def test_autocast_leaves_the_residual_at_rounding(zoo):
    model, loss, batches = zoo["mlp"]()
    opt = torch.optim.SGD(model.float().parameters(), lr=0.1)
    with track(model, opt) as tracker:
        for batch in batches[:20]:
            opt.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss(model, tuple(x.float() for x in batch)).backward()
            opt.step()
    record = tracker.record()
    assert record.residual.max() < 1e-6 < record.forecast_residual.max()


@pytest.mark.parametrize(
    ("dataset", "said"),
    [("residual", "holds NaN"), ("step", "holds NaN"), ("drift", "has shape"), ("count", "counts")],
)
def test_records_that_hold_no_numbers_are_refused(zoo, tmp_path, dataset, said):
    import h5py

    record = train(zoo["mlp"](), lambda p: torch.optim.SGD(p, lr=0.1), steps=2)
    path, other = tmp_path / "laws.h5", tmp_path / "other.h5"
    record.save(path)
    with h5py.File(path) as file, h5py.File(other, "w") as changed:
        for name, value in file.attrs.items():
            if name != "checksum":
                changed.attrs[name] = value
        for name in file:
            file.copy(name, changed)
        values = changed[dataset][()].astype(float)
        del changed[dataset]
        if said == "holds NaN":
            values.ravel()[-1] = np.nan
        else:
            values = values[:-1]
        changed[dataset] = values
    with pytest.raises(InputError, match=said):
        load_record(other)
