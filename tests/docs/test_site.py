"""What the documentation site is made of; building it is a step of its own, `scripts/docs`."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import dmft
from dmft.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site():
    """The modules that write the pages; they need nothing but the package."""
    names = ("docstrings", "reference", "commands", "check")
    sys.path.insert(0, str(ROOT / "scripts" / "site"))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(ROOT / "scripts" / "site"))
        for name in names:
            sys.modules.pop(name, None)


def test_every_public_name_has_a_page(site):
    reference = site["reference"]
    pages = reference.reference_pages()
    everything = "\n".join(pages.values())
    shown = {id(reference._resolved(name)) for name in reference.public_names()}
    subjects = set(dir(dmft)) - set(dmft.__all__) - {"__version__"}
    assert {f"dmft.{name}" for name in subjects} < set(reference.MODULES)
    for module in reference.MODULES:
        for name in importlib.import_module(module).__all__:
            thing = getattr(importlib.import_module(module), name)
            assert id(thing) in shown, f"{module}.{name}"
    for name in reference.public_names():
        short = name.rpartition(".")[2]
        directive = rf"^\.\. (auto\w+:: {re.escape(name)}|py:data:: {re.escape(short)})$"
        assert re.search(directive, everything, re.MULTILINE), name


def test_what_the_pages_import_is_in_the_reference(site):
    reference = site["reference"]
    shown = set(reference.public_names())
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"):
        for module, names in re.findall(
            r"^from (dmft[\w.]*) import (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE
        ):
            for name in names.split(", "):
                full = f"{module}.{name}"
                known = full in shown or full in reference.MODULES
                same = [n for n in shown if reference._resolved(n) is reference._resolved(full)]
                assert known or same, f"{path.name}: {full}"


def test_every_page_is_in_a_table_of_contents():
    pages = ROOT / "scripts" / "site" / "pages"
    listed = {line.strip() for path in pages.glob("*.md") for line in path.read_text().splitlines()}
    for path in (ROOT / "docs").glob("*.md"):
        assert path.stem in listed, f"{path.name}: add it to a page in scripts/site/pages"


def test_no_level_of_headings_is_left_out():
    for path in (ROOT / "docs").glob("*.md"):
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        level = 0
        for marks, title in re.findall(r"^(#+) (.*)$", text, re.MULTILINE):
            assert len(marks) <= level + 1, f"{path.name}: {title}"
            level = len(marks)


def test_every_command_and_option_is_on_a_page(site):
    pages = site["commands"].command_pages()
    assert set(pages) == {"commands/index.rst", *(f"commands/{name}.rst" for name in COMMANDS)}
    assert "``--set section.key=value``" in pages["commands/solve.rst"]
    assert "sweep collect\n-------------" in pages["commands/sweep.rst"]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("|w| of `solve` in w*", r"\|w\| of ``solve`` in w\*"),
        ("`a`s and a_ b", r"``a``\ s and a\_ b"),
        ("an open ` quote", r"an open \` quote"),
        ("snake_case stays", "snake_case stays"),
        ("|w| in docs/finite-steps.md.", r"\|w\| in :doc:`/finite-steps`."),
    ],
)
def test_docstrings_have_no_markup_but_backquotes(site, line, expected):
    assert site["docstrings"].escaped(line) == expected


def test_docstrings_become_definitions_and_code(site):
    lines = [
        "Text.", "", "Parameters", "----------", "a, b : first", "    and more.", "c : last.", "",
        "Examples", "--------", ">>> 1 + 1", "2", "", "examples:", "  dmft theory --json",
    ]  # fmt: skip
    written = list(site["docstrings"].restructured(lines))
    assert "``a``, ``b``" in written
    assert written[written.index("``a``, ``b``") + 1 :][:2] == ["    first", "    and more."]
    assert written[written.index(".. code-block:: none") + 2] == "    dmft theory --json"
    assert written[written.index(".. code-block:: pycon") + 2 :][:2] == ["    >>> 1 + 1", "    2"]


def test_the_check_finds_what_is_wrong(site, tmp_path):
    (tmp_path / "style.css").write_text("body { background: url(https://example.org/a.png) }")
    (tmp_path / "other.html").write_text('<p id="there">')
    good = '<a href="other.html#there"></a> <a href="https://example.org"></a> <p id="dmft.solve">'
    (tmp_path / "good.html").write_text(good + '<img src="data:image/png;base64,">')
    (tmp_path / "bad.html").write_text(
        '<a href="gone.html"></a> <a href="other.html#gone"></a> <img src="gone.png">'
        '<script src="https://example.org/a.js"></script>'
        '<link rel="stylesheet" href="//example.org/a.css"> <img srcset="gone.png 2x">'
    )
    assert sorted(site["check"].problems_of(tmp_path, ["dmft.solve", "dmft.gone"])) == [
        "bad.html: dead link gone.html",
        "bad.html: dead link gone.png",
        "bad.html: dead link gone.png",
        "bad.html: loads //example.org/a.css",
        "bad.html: loads https://example.org/a.js",
        "bad.html: no such place other.html#gone",
        "no page has dmft.gone",
        "style.css: loads https://example.org/a.png",
    ]


def test_the_notebook_runs(tmp_path, monkeypatch):
    """Its cells, as a program; the site has it executed by a kernel."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    path = ROOT / "docs" / "notebooks" / "tutorial.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    variables: dict[str, object] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "committed without outputs"
            exec(compile("".join(cell["source"]), f"{path}, cell {number}", "exec"), variables)
    assert variables["comparison"].agrees


def test_every_gallery_script_is_explained():
    scripts = sorted((ROOT / "scripts" / "gallery").glob("*.py"))
    assert len(scripts) >= 12
    for path in scripts:
        title, line, *_ = path.read_text(encoding="utf-8").removeprefix('"""').splitlines()
        assert path.name.startswith("plot_") and set(line) == {"="} and len(line) >= len(title)


def test_every_argument_is_explained(site):
    def unexplained(parser):
        commands, _ = site["commands"]._subcommands(parser)
        for action in parser._actions:
            if not action.help and not isinstance(action, argparse._SubParsersAction):
                yield f"{parser.prog} {action.option_strings or action.metavar}"
        for command in commands.values():
            yield from unexplained(command)

    assert list(unexplained(build_parser())) == []
