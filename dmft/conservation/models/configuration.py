"""Models of transformers from their configuration files, without weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.errors import InputError
from dmft.texts import parse_json, read_text, words_of
from dmft.validation import echo

if TYPE_CHECKING:
    import torch

_MOST_LAYERS = 1000
_COUNTED = re.compile(r"layers?$|experts$|depth$|blocks$")


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
        raise InputError("cannot be read, no such file", str(path)) from None
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
    _check_layers(settings, path)
    try:
        build = _builder(settings)
        _check_memory(build, path)
        return build()
    except InputError:
        raise
    except Exception as error:  # whatever transformers finds wrong with it
        text = " ".join(str(error).split())[:200]
        raise InputError(f"no model can be built from it ({text})", str(path)) from None


def _builder(settings: Mapping[str, Any]) -> Callable[[], torch.nn.Module]:
    """What builds the model of some settings: the architecture that they name, if there is one."""
    import transformers

    given = {key: value for key, value in settings.items() if key != "model_type"}
    config = transformers.AutoConfig.for_model(settings["model_type"], **given)
    names = settings.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    model = getattr(transformers, name, None) if isinstance(name, str) else None
    if isinstance(model, type) and issubclass(model, transformers.PreTrainedModel):
        return lambda: model(config)
    return lambda: transformers.AutoModelForCausalLM.from_config(config)


def _check_layers(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse more layers or experts than any model has, each of which takes time to make.

    Raises
    ------
    InputError : it names the setting.
    """
    for key, value in settings.items():
        if isinstance(value, dict):
            _check_layers(value, path)
        elif isinstance(value, int) and value > _MOST_LAYERS and _COUNTED.search(key):
            what = f"given {echo(value)}, must be at most {_MOST_LAYERS}"
            raise InputError(what, f"{path}: {key}")


def _check_memory(build: Callable[[], torch.nn.Module], path: Path) -> None:
    """Refuse a model whose weights are larger than the memory of this machine.

    Raises
    ------
    InputError : as said.
    """
    import torch

    with torch.device("meta"):
        size = sum(p.numel() * p.element_size() for p in build().parameters())
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > there:
        raise InputError(
            f"is of a model of {size:.2g} bytes, this machine has a memory of {there:.2g}; "
            "fewer layers have the same laws a layer",
            str(path),
        )
