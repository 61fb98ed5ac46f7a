"""The commands and programs of the documentation run, and print what the pages say.

A page is executed from top to bottom in one temporary folder. Fenced blocks mean:

    toml      saved under the file name in backquotes that stands last before the block
    console   lines that begin with $ are commands, what follows is their output
    python    executed; all blocks of a page share their variables
    text      output of the python block before it

Output is compared line by line with every number replaced by #, each shown line must be among the
printed ones; a line of three dots stands for lines left out.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmft.cli.main import main
from dmft.results.observables import CHARGES, OBSERVABLES, PRINCIPAL

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(toml|console|python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d[\d.]*(e[-+]?\d+)?")


# The pages build on each other: file-format.md reads what the tutorial has written.
PAGES = (
    "tutorial.md",
    "file-format.md",
    "finite-steps.md",
    "optimisers.md",
    "long-times.md",
    "classification.md",
    "conservation.md",
    "sweeps.md",
    "trajectories.md",
    "symmetry.md",
    "settings.md",
    "recipes.md",
    "phenomena.md",
)


def test_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for page in PAGES:
        _run_page(page)
    _check_that_files_are_documented(tmp_path)


_PAGES = [*sorted(DOCS.glob("*.md")), DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md"]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links lead to files, and to headings that are there."""
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name}: {target}"
        if heading:
            assert heading in _headings(linked), f"{page.name}: {target}"


def _headings(page: Path) -> set[str]:
    """The anchors of a page, made of its headings as code hosts make them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_files_named_on_the_architecture_page_exist() -> None:
    root = DOCS.parent
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("Files to open for an addition") : text.index("**A network**")]
    paths = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", table)
    assert len(paths) > 15
    for path in paths:
        assert (root / "dmft" / path).exists(), path


def _run_page(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    variables: dict[str, object] = {}
    printed = ""
    for block in _BLOCK.finditer(text):
        kind, body = block.groups()
        if kind == "toml":
            name = re.findall(r"`([\w.-]+\.toml)`", text[: block.start()])[-1]
            Path(name).write_text(body, encoding="utf-8")
        elif kind == "console":
            for command, expected in _commands(body):
                _check(expected, _run_command(command), f"{page}: {command}")
        elif kind == "python":
            line = text.count("\n", 0, block.start()) + 1
            code = compile("\n" * line + body, str(DOCS / page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(code, variables)
            printed = stream.getvalue()
        else:
            _check(body, printed, f"{page}: text block")


def _check_that_files_are_documented(folder: Path) -> None:
    """What the files of the pages hold must be named in file-format.md, in backquotes."""
    import h5py

    page = (DOCS / "file-format.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]+)`", page))
    for curve in _curves(page):
        named |= {curve, f"{curve}_stderr", f"/replicates{curve}", f"/seeds{curve}"}
        last = f"/final_{curve[1:]}"  # in a collection
        named |= {last, f"{last}_stderr"}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            present = set(file.attrs)
            file.visit(lambda name, present=present: present.add(f"/{name}"))
        present = {name for name in present if not name.startswith("/checkpoint/")}  # a saved state
        missing = sorted(present - named)
        assert not missing, f"{path.name}: {missing}"


def _curves(page: str) -> set[str]:
    """Names in the table of curves of file-format.md, where one name stands for four datasets."""
    table = page[page.index("### Curves") : page.index("### Trajectory")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(/\w+)`", row)}


def test_all_curves_are_documented() -> None:
    page = (DOCS / "file-format.md").read_text(encoding="utf-8")
    elsewhere = {f"/{name}" for name in (*PRINCIPAL, *CHARGES)}
    assert _curves(page) == {f"/{name}" for name in OBSERVABLES} - elsewhere


def _commands(body: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _run_command(command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "dmft"
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert main(arguments) == 0, command
    return stream.getvalue()


def _check(expected: str, printed: str, what: str) -> None:
    actual = {_masked(line) for line in printed.splitlines()}
    for line in expected.splitlines():
        if line.strip() not in ("", "...") and _masked(line) not in actual:
            raise AssertionError(f"{what} does not print {line!r} but\n{printed}")


def _masked(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())
