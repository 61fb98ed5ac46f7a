"""Small models of every recognised kind, with a loss and random batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

_QWEN = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 50,
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip


@pytest.fixture
def qwen() -> dict:
    """config.json of a very small Qwen 3."""
    return dict(_QWEN)


@pytest.fixture(autouse=True)
def seeded():
    """An expert that no token of the guessed inputs reaches has no laws: the draw decides."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def zoo() -> dict[str, Callable]:
    """Functions that make (model in float64, loss, batches)."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    nn = torch.nn
    no_ids = {"bos_token_id": None, "eos_token_id": None}

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.first = nn.BatchNorm2d(width)
            self.outer = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.second = nn.BatchNorm2d(width)

        def forward(self, x):
            y = torch.relu(self.first(self.inner(x)))
            return torch.relu(x + self.second(self.outer(y)))

    class ResNet(nn.Module):
        def __init__(self, width=3):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
            self.block, self.head = Block(width), nn.Linear(width, 3)

        def forward(self, x):
            return self.head(self.block(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))

    class GLU(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            self.act = act

        def forward(self, x):
            return self.down(self.act(self.gate(x)) * self.up(x))

    def language(model, count=300, tokens=3):
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randint(5, (count, 2, 1, tokens), generator=generator)

        def loss(model, batch):
            return nn.functional.cross_entropy(model(input_ids=batch[0]).logits[0], batch[1][0])

        return model.double(), loss, list(drawn)

    def gpt2(**changes):
        settings = {"vocab_size": 5, "n_positions": 3, "n_embd": 4, "n_layer": 1, "n_head": 2,
                    "n_inner": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
                    **no_ids}  # fmt: skip
        config = transformers.GPT2Config(**{**settings, **changes})
        return language(transformers.GPT2LMHeadModel(config))

    def rotary(name, **changes):
        settings = {"vocab_size": 5, "hidden_size": 4, "intermediate_size": 4, "head_dim": 2,
                    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
                    "max_position_embeddings": 16, "tie_word_embeddings": True,
                    "pad_token_id": None, **no_ids}  # fmt: skip
        config = getattr(transformers, f"{name}Config")(**{**settings, **changes})
        return language(getattr(transformers, f"{name}ForCausalLM")(config))

    def neox(**changes):
        rope = {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5}
        settings = {"vocab_size": 5, "hidden_size": 4, "intermediate_size": 4,
                    "num_hidden_layers": 1, "num_attention_heads": 1, "rope_parameters": rope,
                    "max_position_embeddings": 16, **no_ids}  # fmt: skip
        config = transformers.GPTNeoXConfig(**{**settings, **changes})
        return language(transformers.GPTNeoXForCausalLM(config), count=300)

    def vit(**changes):
        settings = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "intermediate_size": 4, "image_size": 4, "patch_size": 2, "num_channels": 1,
                    "num_labels": 3, "layer_norm_eps": 1e-3}  # fmt: skip
        model = transformers.ViTForImageClassification(
            transformers.ViTConfig(**{**settings, **changes})
        )
        generator = np.random.default_rng(1)
        images = torch.from_numpy(generator.standard_normal((300, 1, 1, 4, 4)))
        labels = torch.from_numpy(generator.integers(3, size=(300, 1)))

        def loss(model, batch):
            return nn.functional.cross_entropy(model(pixel_values=batch[0]).logits, batch[1])

        return model.double(), loss, list(zip(images, labels, strict=True))

    def regression(model, shape, outputs):
        generator = np.random.default_rng(1)
        inputs = torch.from_numpy(generator.standard_normal((300, 4, *shape)))
        targets = torch.from_numpy(generator.standard_normal((300, 4, outputs)))
        pairs = list(zip(inputs, targets, strict=True))
        return model.double(), lambda model, b: (model(b[0]) - b[1]).square().mean(), pairs

    def sequential(*layers, widths=(3, 2)):
        return regression(nn.Sequential(*layers), (widths[0],), widths[1])

    return {
        "mlp": lambda: sequential(
            nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2)
        ),
        "wide": lambda: sequential(
            nn.Linear(2, 5, bias=False), nn.Linear(5, 2, bias=False), widths=(2, 2)
        ),
        "swiglu": lambda: regression(GLU(nn.SiLU()), (3,), 2),
        "reglu": lambda: regression(GLU(nn.ReLU()), (3,), 2),
        "resnet": lambda: regression(ResNet(), (1, 4, 4), 3),
        "gpt2": gpt2,
        "gpt2-untied": lambda: gpt2(tie_word_embeddings=False),
        "gpt2-relu": lambda: gpt2(activation_function="relu"),
        "llama": lambda: rotary("Llama"),
        "llama-grouped": lambda: rotary(
            "Llama", num_key_value_heads=1, tie_word_embeddings=False
        ),
        "llama-no-eps": lambda: rotary("Llama", rms_norm_eps=0.0),
        "mistral": lambda: rotary("Mistral", num_key_value_heads=1),
        "qwen2": lambda: rotary("Qwen2", num_key_value_heads=1),
        "qwen3": lambda: rotary("Qwen3", num_key_value_heads=1),
        "qwen3-moe": lambda: rotary(
            "Qwen3Moe", num_experts=3, num_experts_per_tok=2, moe_intermediate_size=2,
            norm_topk_prob=False, num_key_value_heads=1, mlp_only_layers=[],
        ),
        "mixtral": lambda: rotary(
            "Mixtral", num_local_experts=3, num_experts_per_tok=2, intermediate_size=3,
            num_key_value_heads=1,
        ),
        "neox": neox,
        "neox-sequential": lambda: neox(use_parallel_residual=False),
        "vit": vit,
        "classes": SimpleNamespace(rotary=rotary, gpt2=gpt2, vit=vit, ResNet=ResNet),
    }  # fmt: skip
