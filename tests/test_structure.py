"""The structure of the code: imports point downwards, files stay short, nothing is overridden."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dmft"
# From the bottom to the top; parts of one layer do not know each other.
LAYERS = [
    {"errors", "version"},
    {"validation", "stopping", "progress", "texts", "states"},
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


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [
        (path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


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


# Who may look at the type or the name of a dynamics: the scheme is chosen there. Elsewhere one asks
# what a dynamics or a network says of itself, so that a new one has to answer.
CHOOSING = {
    "solver/schemes.py": {"scheme_of"},
    "problem/dynamics.py": {"require_gradient_flow"},
    "problem/user_optimiser.py": {"__eq__"},
}
MODELS = ("dynamics", "networks", "optimisers", "user_optimiser")


def settings_classes() -> set[str]:
    """Names of all dynamics, optimisers and networks, of what they share and of their unions."""
    found = set()
    for module in MODELS:
        tree = ast.parse((PACKAGE / "problem" / f"{module}.py").read_text(encoding="utf-8"))
        found |= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for _, tree in trees():  # unions and other names of them
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign) else None
            if isinstance(value, ast.BinOp | ast.Subscript) and names_in(value) & found:
                found |= {name.id for name in node.targets if isinstance(name, ast.Name)}
    return found


def names_in(node: ast.AST) -> set[str]:
    named = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return named | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


def asks_for_types(node: ast.AST, known: set[str]) -> bool:
    """isinstance, issubclass, type(...) is, a pattern of a match, or the kind compared."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("isinstance", "issubclass") and bool(names_in(node.args[1]) & known)
    if isinstance(node, ast.MatchClass):
        return bool(names_in(node.cls) & known)
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    if any(names_in(side) & known and not isinstance(side, ast.Call) for side in sides):
        return True
    kinds = [side for side in sides if isinstance(side, ast.Attribute) and side.attr == "kind"]
    named = any(names_in(side.value) & {"dynamics", "network"} for side in kinds)
    return named and any(isinstance(side, ast.Constant | ast.Tuple | ast.Set) for side in sides)


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(network, Diagonal)",
        "isinstance(problem.dynamics, SGD | networks.Linear)",
        "issubclass(type(x), (int, Adaptive))",
        "type(problem.network) is Linear",
        "problem.dynamics.kind != 'gradient-flow'",
        "network.kind in ('linear', 'diagonal')",
        "match dynamics:\n    case SGD(): pass",
    ],
)
def test_asking_for_types_is_seen(code):
    known = {"Diagonal", "Linear", "SGD", "Adaptive"}
    assert any(asks_for_types(node, known) for node in ast.walk(ast.parse(code)))
    assert not any(asks_for_types(node, {"Other"}) for node in ast.walk(ast.parse("x is Linear")))


def test_dynamics_and_networks_are_asked_not_told_apart_by_their_types():
    known, wrong = settings_classes(), []
    assert {"GradientFlow", "SGD", "Adam", "Diagonal", "Linear", "Network", "Dynamics"} <= known
    for path, tree in trees():
        if path.split("/")[0] in ("conservation", "symmetry", "trajectory"):
            continue  # have models of their own
        asked = {node for node in ast.walk(tree) if asks_for_types(node, known)}
        for function in ast.walk(tree):
            allowed = isinstance(function, ast.FunctionDef) and function.name in CHOOSING.get(
                path, set()
            )
            if allowed:
                asked -= set(ast.walk(function))
        wrong += [f"{path}:{node.lineno}" for node in asked]
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
