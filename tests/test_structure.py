"""The structure of the code: imports point downwards, files stay short, nothing is overridden."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dmft"
# From the bottom to the top; parts of one layer do not know each other.
LAYERS = [
    {"errors", "version"},
    {"validation", "stopping", "progress", "texts"},
    {"shapes"},
    {"resolution", "explanation", "settings", "numerics"},
    {"problem"},
    {"config"},
    {"results"},
    {"store"},
    {"plotting"},
    {"solver", "simulation", "theory", "trajectory", "conservation"},
    {"symmetry"},
    {"sweep", "bench", "explore"},
    {"cli"},
    {"dmft", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# A result hands itself on when asked for a map or a figure; who solves uses the package's doors.
UPWARDS = {("results", "trajectory"), ("results", "plotting"), ("sweep", "dmft"), ("bench", "dmft")}
LONGEST = 350


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else "dmft"


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dmft":
            yield node.module or ""
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "dmft")


def test_imports_point_downwards():
    wrong = []
    for path, tree in trees():
        here = part_of("dmft." + path.removesuffix(".py").replace("/", "."))
        here = "dmft" if path == "__init__.py" else here
        for module in imported(tree):
            there = part_of(module)
            if here != there and (here, there) not in UPWARDS and LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{path} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_files_are_short():
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert not {path for path, length in lengths.items() if length > LONGEST}


def classes(folder: str) -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for path, tree in trees()
        if path.startswith(f"{folder}/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


@pytest.mark.parametrize("folder", ["solver", "results", "numerics"])
def test_no_private_method_is_overridden(folder):
    known = classes(folder)
    wrong = []
    for name, node in known.items():
        own = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in known]
        while bases:
            base = known[bases.pop()]
            theirs = {item.name for item in base.body if isinstance(item, ast.FunctionDef)}
            bases += [b.id for b in base.bases if isinstance(b, ast.Name) and b.id in known]
            private = {m for m in own & theirs if m.startswith("_") and not m.startswith("__")}
            if private:
                wrong.append(f"{name} overrides {', '.join(sorted(private))} of {base.name}")
    assert not wrong, "\n".join(wrong)
