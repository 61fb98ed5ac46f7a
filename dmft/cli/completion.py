"""Print what makes a shell complete `dmft`: commands, options and file names.

Needs the extra `completion` (shtab)."""

from __future__ import annotations

import argparse

PLACE = 150
SUMMARY = "make a shell complete commands"
EXAMPLES = """\
  dmft completion bash > ~/.local/share/bash-completion/completions/dmft
  dmft completion zsh > ~/.zfunc/_dmft"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"), help="which shell")


def run(arguments: argparse.Namespace) -> int:
    from dmft.cli.main import build_parser
    from dmft.errors import InputError

    try:
        import shtab
    except ImportError:
        raise InputError(
            "needs shtab, the extra 'completion': pip install 'dmft[completion]'", "completion"
        ) from None
    print(shtab.complete(build_parser(), arguments.shell))
    return 0
