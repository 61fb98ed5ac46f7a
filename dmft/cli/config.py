"""Print a complete, commented TOML of the resolved settings: meaning, units, allowed values.

What is printed is itself a CONFIG.toml of the same run. Of a file with [model] or [symmetry] it is
that of `dmft symmetry`. The rule of precedence and all settings are in docs/settings.md."""

from __future__ import annotations

import argparse

from dmft.cli import parser as options

PLACE = 90
SUMMARY = "print all settings with what they mean"
EXAMPLES = """\
  dmft config
  dmft config --set dynamics.kind=sgd > config.toml
  dmft config config.toml --set problem.network.init_scale=0.1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    from dmft.config import load_config, read_toml
    from dmft.errors import InputError

    path = arguments.config
    sections = set() if path is None else set(read_toml(path))
    if "axes" in sections:
        raise InputError("is a grid of problems, see `dmft sweep plan`", str(path))
    if sections & {"model", "symmetry"}:
        from dmft.explanation import commented_toml
        from dmft.symmetry.settings import load_symmetry_config

        text = commented_toml(load_symmetry_config(path, arguments.overrides))
    else:
        text = load_config(path, arguments.overrides).to_toml()
    print(text, end="")
    return 0
