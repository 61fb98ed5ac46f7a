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
    from dmft.config import Config, check_subject, config_of, read_toml, sources_of, warn_if_empty
    from dmft.resolution import Source

    path = arguments.config
    table = {} if path is None else read_toml(path)  # once: it may be a pipe
    given, sections = Source(table, f"in {path}"), set(table)
    if sections & {"model", "symmetry"}:
        from dmft.explanation import commented_toml
        from dmft.symmetry.settings import SymmetryConfig, symmetry_config_of

        overrides = sources_of(SymmetryConfig, None, arguments.overrides)
        check_subject(SymmetryConfig, table, path)
        text = commented_toml(symmetry_config_of(given, *overrides))
    else:
        check_subject(Config, table, path)
        text = config_of(given, *sources_of(Config, None, arguments.overrides)).to_toml()
        if path is not None:
            warn_if_empty(path, given)
    print(text, end="")
    return 0
