"""The command reference, made from the parsers of the command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator

from docstrings import escaped, restructured

from dmft.cli.main import COMMANDS, build_parser

_WIDTH = "88"
_LEVELS = "=-~"


def command_pages() -> dict[str, str]:
    """The sources of all pages by file name: an index, and a page for each command."""
    os.environ["COLUMNS"] = _WIDTH  # of the lines of usage
    parser = build_parser()
    commands, summaries = _subcommands(parser)
    rows = [f"   * - :doc:`dmft {n} <{n}>`\n     - {escaped(summaries[n])}" for n in COMMANDS]
    lines = ["Commands", "========", "", f"{escaped(parser.description or '')}", ""]
    lines += [".. list-table::", "   :widths: auto", "", *rows, ""]
    lines += restructured((parser.epilog or "").splitlines())
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [f"   dmft {name} <{name}>" for name in COMMANDS]
    pages = {"commands/index.rst": "\n".join(lines) + "\n"}
    for name in COMMANDS:
        pages[f"commands/{name}.rst"] = "\n".join(_section(commands[name], 0)) + "\n"
    return pages


def _subcommands(
    parser: argparse.ArgumentParser,
) -> tuple[dict[str, argparse.ArgumentParser], dict[str, str]]:
    """Parsers of the commands below one, and what its help says about them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return dict(action.choices), summaries
    return {}, {}


def _section(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    title = parser.prog if level == 0 else parser.prog.removeprefix("dmft ")
    yield from (title, _LEVELS[level] * len(title), "")
    yield from restructured((parser.description or "").splitlines())
    usage = parser.format_usage().removeprefix("usage: ").rstrip()
    yield from ("", ".. code-block:: none", "")
    yield from (f"    {line}" for line in re.sub(r"\n {7}", "\n", usage).splitlines())
    yield from _table(parser)
    commands, _ = _subcommands(parser)
    yield from restructured((parser.epilog or "").splitlines())
    for command in commands.values():
        yield from _section(command, level + 1)


def _table(parser: argparse.ArgumentParser) -> Iterator[str]:
    shown = [
        action
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    ]
    if not shown:
        yield ""
        return
    yield from ("", ".. list-table::", "   :widths: auto", "   :class: options", "")
    for action in shown:
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        if action.choices and action.metavar is not None:
            text += f"; one of {', '.join(map(str, action.choices))}"
        needed = " (required)" if action.option_strings and action.required else ""
        yield f"   * - ``{_spelling(action)}``"
        yield f"     - {escaped((text + needed).strip()) or '..'}"
    yield ""


def _spelling(action: argparse.Action) -> str:
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    words = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return words
    takes = "" if action.nargs == 0 else f" {words}"
    return ", ".join(action.option_strings) + takes
