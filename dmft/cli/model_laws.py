"""`dmft conservation model`: laws of a Hugging Face model, from its configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch


def prepare(parser: options.Parser) -> options.Parser:
    """The options of the action."""
    parser.description = (
        "List the conservation laws of a model of transformers. Only the configuration is read:"
        " no weights are needed and nothing is downloaded."
    )
    parser.add_argument(
        "path", type=Path, metavar="CONFIG.json", help="config.json of the model, or its folder"
    )
    parser.add_argument(
        "--training", action="store_true", help="with the dropout that the configuration asks for"
    )
    options.add_json(parser)
    return parser


def execute(given: argparse.Namespace) -> int:
    """Print the laws; exit status 2 if the model cannot be built, 3 if not all is determined."""
    from dmft.cli.output import print_json
    from dmft.conservation import laws

    found = laws(_model(given.path).train(given.training))
    status = 0 if found.determined else 3
    if given.json:
        print_json(found.to_table())
        return status
    count = found.count if found.determined else f"not determined, at least {found.count}"
    print(f"{count} conservation laws of {found.dimension} parameters of {found.model}")
    for kind, members in _by_kind(found.laws).items():
        count = sum(law.count for law in members)
        times = f", {len(members)} times" if len(members) > 1 else ""
        print(f"  {count:>8}  {kind}{times}: {members[0].formula}")
    for kind, broken in _by_kind(found.broken).items():
        print(f"  broken    {kind}: {broken[0].why}")
    for what in found.unrecognised:
        print(f"  not recognised: {what}")
    if found.unchecked:
        print(f"  not checked by gradients: {found.unchecked}")
    return status


def _by_kind(laws: Any) -> dict[str, list[Any]]:
    from dmft.conservation.models.figures import kind_of

    kinds: dict[str, list[Any]] = {}
    for law in laws:
        kinds.setdefault(kind_of(law.name), []).append(law)
    return kinds


def _model(path: Path) -> torch.nn.Module:
    """A model with random weights from a configuration; code of strangers is not run."""
    from dmft.texts import parse_json, read_text

    path = path / "config.json" if path.is_dir() else path
    try:
        settings = parse_json(read_text(path))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except ValueError:
        raise InputError("is not valid JSON", str(path)) from None
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
