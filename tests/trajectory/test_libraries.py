"""Folders that the training libraries themselves write give the map of plain arrays."""

from __future__ import annotations

import contextlib
import logging
import warnings

import numpy as np
import pytest

from dmft import trajectory
from dmft.trajectory.inspection import inspected

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # what the libraries tell each other
]


def values(module):
    """All parameters as they are now, a shared one once."""
    return np.concatenate([p.detach().double().numpy().ravel() for p in module.parameters()])


def agrees(folder, states, steps, **options):
    """The folder's map, steps and size are those of the states."""
    found = trajectory.of_checkpoints(folder, **options).trajectory()
    exact = trajectory.of_arrays(np.array(states))
    assert found.step.tolist() == steps
    assert found.parameters == exact.parameters
    assert np.abs(found.map().values - exact.map().values).max() < 1e-12
    assert inspected(folder).to_dict()["steps"] == steps


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def small_gpt():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=11, n_positions=6)
    )


@pytest.mark.parametrize("safe", [True, False], ids=["whole", "shards"])
def test_trainer(tmp_path, safe):
    """Numbered folders with optimiser, scheduler and RNG states, of tied embeddings."""
    pytest.importorskip("accelerate")
    states = []

    class Keep(transformers.TrainerCallback):
        def on_save(self, args, state, control, model=None, **rest):
            states.append(values(model))

    class Trainer(transformers.Trainer):
        def _save(self, output_dir=None, state_dict=None):
            super()._save(output_dir, state_dict)
            if not safe:  # in pieces, as large models are
                for file in (tmp_path / output_dir).glob("model*.safetensors"):
                    file.unlink()
                self.model.save_pretrained(output_dir, max_shard_size="2KB")

    data = [{"input_ids": torch.arange(6) % 11, "labels": torch.arange(6) % 11}] * 12
    settings = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=10, save_steps=2, learning_rate=1e-2,
        per_device_train_batch_size=2, report_to=[], disable_tqdm=True, use_cpu=True, seed=0,
        logging_strategy="no",
    )  # fmt: skip
    with quiet():
        Trainer(model=small_gpt(), args=settings, train_dataset=data, callbacks=[Keep()]).train()
    agrees(tmp_path / "out", states, [2, 4, 6, 8, 10])


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning")
    states = []

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Sequential(
                torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 1)
            )

        def training_step(self, batch, _index):
            return self.model(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

        def on_save_checkpoint(self, checkpoint):
            states.append(values(self))

    torch.manual_seed(0)
    net = Net()
    data = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(24, 4)), batch_size=4
    )
    keep = lightning.pytorch.callbacks.ModelCheckpoint(
        dirpath=tmp_path / "run", every_n_train_steps=2, save_top_k=-1, filename="{epoch}-{step}"
    )
    with quiet():
        lightning.Trainer(
            max_steps=8, callbacks=[keep], logger=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu",
        ).fit(net, data)  # fmt: skip
    agrees(tmp_path / "run", states, [2, 4, 6, 8])


def test_accelerate(tmp_path):
    """`save_state` writes the model beside the states of optimiser, scheduler and RNG."""
    accelerate = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    accelerator = accelerate.Accelerator(cpu=True)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    net, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), 0.1, 0.9))
    states = []
    with quiet():
        for step in range(4):
            accelerator.backward(net(torch.randn(5, 4)).square().mean())
            optimizer.step()
            optimizer.zero_grad()
            accelerator.save_state(str(tmp_path / "run" / f"step_{step}"))
            states.append(values(net))
    agrees(tmp_path / "run", states, [0, 1, 2, 3])


def test_peft(tmp_path):
    """Adapters count as the matrices that they add."""
    peft = pytest.importorskip("peft")
    net = peft.get_peft_model(
        small_gpt(),
        peft.LoraConfig(r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True),
    )
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-2)
    states = []
    with quiet():
        for step in range(4):
            net(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            net.save_pretrained(tmp_path / "run" / f"checkpoint-{step}")
            layers = [m for m in net.modules() if hasattr(m, "lora_A")]
            products = [
                2.0 * m.lora_B["default"].weight.double() @ m.lora_A["default"].weight.double()
                for m in layers
            ]
            states.append(np.concatenate([p.detach().numpy().ravel() for p in products]))
    agrees(tmp_path / "run", states, [0, 1, 2, 3])
