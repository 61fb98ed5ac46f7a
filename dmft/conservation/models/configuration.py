"""Models of transformers from their configuration files, without weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dmft.errors import InputError
from dmft.texts import parse_json, read_text, words_of

if TYPE_CHECKING:
    import torch


def model_of(path: Path) -> torch.nn.Module:
    """A model with random weights from a config.json or its folder; code of strangers is not run.

    Raises
    ------
    InputError : no configuration of transformers, or none that a model can be built from.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        settings = parse_json(read_text(path))
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"is not valid JSON: {words_of(error)}", str(path)) from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise InputError("has no 'model_type', must be a configuration of transformers", str(path))
    try:
        import transformers
    except ImportError:
        raise InputError(
            "transformers is needed for this and is not installed"
            " (the extra 'torch' of the package)"
        ) from None
    transformers.logging.set_verbosity_error()
    name = (settings.get("architectures") or [None])[0]
    try:
        kind = settings.pop("model_type")
        config = transformers.AutoConfig.for_model(kind, **settings)
        model = getattr(transformers, name, None) if isinstance(name, str) else None
        if model is None or not issubclass(model, transformers.PreTrainedModel):
            return transformers.AutoModelForCausalLM.from_config(config)
        return model(config)
    except Exception as error:  # whatever transformers finds wrong with it
        text = " ".join(str(error).split())[:200]
        raise InputError(f"no model can be built from it ({text})", str(path)) from None
