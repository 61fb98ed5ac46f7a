"""The Python reference: a page for every public module, class and function."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from docstrings import escaped, restructured

MODULES = (
    "dmft", "dmft.problem", "dmft.theory", "dmft.plotting", "dmft.sweep", "dmft.conservation",
    "dmft.symmetry", "dmft.trajectory", "dmft.store",
)  # fmt: skip
# What public functions return or take, and what the pages of the documentation import.
ALSO = {
    "dmft": (
        "dmft.results.comparison.Comparison", "dmft.results.differences.Difference",
        "dmft.results.solution.Kernels", "dmft.results.solution.SamplePaths",
        "dmft.results.curves.Curve", "dmft.results.interpolation.kernel_at",
        "dmft.progress.Progress", "dmft.settings.SolverSettings",
        "dmft.settings.SimulationSettings", "dmft.config.Config",
    ),
    "dmft.theory": (
        "dmft.theory.linear.learning_curves", "dmft.theory.timescales.Grokking",
        "dmft.theory.tradeoff.TradeOff", "dmft.theory.measurement.Phases",
        "dmft.theory.measurement.MeasuredRate",
    ),
    "dmft.conservation": (
        "dmft.conservation.models.ModelLaws", "dmft.conservation.models.Discovery",
        "dmft.conservation.models.Tracker",
    ),
    "dmft.symmetry": (
        "dmft.symmetry.layout.unit_rescalings", "dmft.symmetry.models.SyntheticData",
        "dmft.symmetry.models.TwoLayerLinear", "dmft.symmetry.pytorch.PointWriter",
        "dmft.symmetry.pytorch.layout_of", "dmft.symmetry.pytorch.parameters_of",
        "dmft.symmetry.pytorch.per_sample_gradients",
    ),
}  # fmt: skip


def public_names() -> list[str]:
    """Every name that a user may import, with dots; one object has one name."""
    names, seen = [], set()
    for module in MODULES:
        for name in (*(f"{module}.{n}" for n in _exported(module)), *ALSO.get(module, ())):
            thing = _resolved(name)
            if isinstance(thing, str) or id(thing) not in seen:
                names.append(name)
            seen.add(id(thing))
    return names


def reference_pages() -> dict[str, str]:
    """The sources of all pages by file name."""
    names = public_names()
    pages = {f"api/{module}.rst": _module_page(module, names) for module in MODULES}
    pages |= {f"api/{name}.rst": _page(name) for name in names if _has_page(name)}
    listed = "\n".join(f"   {module}" for module in MODULES)
    rows = "\n".join(
        f"   * - :doc:`{module}`\n     - {escaped(_first_sentence(_resolved(module)))}"
        for module in MODULES
    )
    pages["api/index.rst"] = (
        "Python\n======\n\n"
        "All public names with their signatures. A name that begins with an underscore, or that "
        "is not listed\nhere, may change without notice.\n\n"
        f".. list-table::\n   :widths: auto\n\n{rows}\n\n"
        f".. toctree::\n   :hidden:\n\n{listed}\n"
    )
    return pages


def _exported(module: str) -> list[str]:
    return sorted(importlib.import_module(module).__all__, key=lambda name: (name.lower(), name))


def _resolved(name: str) -> Any:
    """The object of a name with dots, which may hide a module of the same name."""
    thing: Any = importlib.import_module(name.partition(".")[0])
    path = thing.__name__
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        try:
            thing = getattr(thing, part)
        except AttributeError:
            thing = importlib.import_module(path)
    return thing


def _has_page(name: str) -> bool:
    """Constants stand on the page of their module."""
    return callable(_resolved(name)) or isinstance(_resolved(name), ModuleType)


def _module_page(module: str, names: list[str]) -> str:
    also = ALSO.get(module, ())
    own = [n for n in names if n.rpartition(".")[0] == module or n in also]
    groups = {
        "Functions": [n for n in own if inspect.isroutine(_resolved(n))],
        "Classes": [n for n in own if inspect.isclass(_resolved(n))],
        "Modules": [n for n in own if isinstance(_resolved(n), ModuleType)],
    }
    lines = [module, "=" * len(module), "", f".. py:module:: {module}", ""]
    lines += restructured(inspect.cleandoc(_resolved(module).__doc__ or "").splitlines())
    for title, members in groups.items():
        if not members:
            continue
        lines += ["", title, "-" * len(title), "", ".. list-table::", "   :widths: auto", ""]
        for name in members:
            text = escaped(_first_sentence(_resolved(name)))
            shown = name if name in also else name.removeprefix(f"{module}.")
            lines += [f"   * - :doc:`{shown} <{name}>`", f"     - {text}"]
        lines += ["", ".. toctree::", "   :hidden:", ""]
        lines += [f"   {_title(name)} <{name}>" for name in members]
    constants = [n for n in own if not _has_page(n)]
    if constants:
        lines += ["", "Constants", "---------", ""]
        for name in constants:
            lines += [f".. py:data:: {_title(name)}", f"   :value: {_resolved(name)!r}", ""]
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    return name.rpartition(".")[2]


def _page(name: str) -> str:
    thing = _resolved(name)
    lines = [name, "=" * len(name), ""]
    if isinstance(thing, ModuleType):
        lines += [f".. automodule:: {name}", "   :members:"]
    elif inspect.isclass(thing):
        bases = [base for base in thing.__mro__ if not base.__module__.startswith("dmft")]
        lines += [f".. autoclass:: {name}", "   :members:"]
        lines += [f"   :inherited-members: {', '.join(base.__name__ for base in bases)}"]
    else:
        lines += [f".. autofunction:: {name}"]
    return "\n".join(lines) + "\n"


def _first_sentence(thing: Any) -> str:
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")
