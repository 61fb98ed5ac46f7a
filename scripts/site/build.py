"""Assemble the sources of the site in build/pages, build build/site from them, check the result.

    python scripts/site/build.py

Sources are docs/, the pages in scripts/site/pages, and what is generated: a page for every public
name, one for every command. The exit status is 1 if Sphinx warns or a link leads nowhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import nbformat
from check import problems_of
from commands import command_pages
from nbclient import NotebookClient
from reference import public_names, reference_pages
from sphinx.cmd.build import build_main
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"


def main() -> int:
    """Build and check."""
    assemble(PAGES)
    status = build_main(
        ["-W", "--keep-going", "-q", "-j", "auto", "-c", str(Path(__file__).parent),
         "-d", str(ROOT / "build" / "pages-read"), str(PAGES), str(SITE)]
    )  # fmt: skip
    if status:
        return status
    problems = problems_of(SITE, public_names())
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"site: {SITE / 'index.html'}" + (f", {len(problems)} problems" if problems else ""))
    return 1 if problems else 0


def assemble(pages: Path) -> None:
    """Write all sources below `pages`; files that do not change keep their times."""
    sources: dict[str, str | Path] = {}
    for folder in (ROOT / "docs", Path(__file__).parent / "pages"):
        for path in folder.rglob("*"):
            if path.suffix == ".md":
                sources[path.relative_to(folder).as_posix()] = _with_gallery(path)
            elif path.is_file() and ".ipynb_checkpoints" not in path.parts:
                sources[path.relative_to(folder).as_posix()] = path
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    elsewhere = re.compile(r"\[([^\]]*)\]\((?!https?:|docs/)[^)]*\)")  # not on the site
    sources["changelog.md"] = elsewhere.sub(r"\1", changes).replace("](docs/", "](")
    sources |= reference_pages() | command_pages()
    for name, source in sources.items():
        target = pages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        content = source.encode() if isinstance(source, str) else source.read_bytes()
        if target.suffix == ".ipynb":
            content = executed(content, target)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
    for path in pages.rglob("*"):
        name = path.relative_to(pages)
        if path.is_file() and name.parts[0] != "gallery" and name.as_posix() not in sources:
            path.unlink()  # of a page that is gone
    if not (pages / "gallery").exists():
        shutil.rmtree(SITE, ignore_errors=True)


def _with_gallery(path: Path) -> str:
    """A page whose links to scripts of the gallery lead to their pages."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"\]\(\.\./scripts/gallery/(\w+)\.py\)", r"](gallery/\1.rst)", text)


def executed(content: bytes, target: Path) -> bytes:
    """A notebook with its outputs; those of `target` if it comes from the same notebook.

    Raises
    ------
    nbclient.exceptions.CellExecutionError : a cell failed.
    """
    key = sha256(content).hexdigest()
    if target.exists():
        before = nbformat.read(target, as_version=4)
        if before.metadata.get("source") == key:
            return target.read_bytes()
    notebook = nbformat.reads(content.decode(), as_version=4)
    # The caller's choice of a backend would leave the figures out.
    inline = "module://matplotlib_inline.backend_inline"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": inline}
    config = Config(KernelManager={"transport": "ipc"})  # no ports
    NotebookClient(notebook, timeout=300, kernel_name="python3", config=config).execute(
        env=environment
    )
    notebook.metadata["source"] = key
    return nbformat.writes(notebook).encode()


if __name__ == "__main__":
    sys.exit(main())
