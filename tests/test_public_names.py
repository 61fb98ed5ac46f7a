"""What `import dmft` shows: exactly the public names, each explained."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dmft

ROOT = Path(__file__).parents[1]
SUBJECTS = ["conservation", "plotting", "sweep", "symmetry", "theory", "trajectory"]
MODULES = ["dmft", *(f"dmft.{name}" for name in SUBJECTS if name != "plotting")]
NAMES = [(module, name) for module in MODULES for name in importlib.import_module(module).__all__]


def test_dir_shows_the_public_names():
    importlib.import_module("dmft.solver")  # is bound in the package, but no public name
    assert set(dir(dmft)) == {*dmft.__all__, *SUBJECTS, "__version__"}


def test_subjects_come_with_the_package_when_they_are_used():
    program = (
        "import dmft, sys\n"
        f"loaded = [name for name in {SUBJECTS} if f'dmft.{{name}}' in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert not {'numba', 'matplotlib', 'scipy', 'h5py'} & set(sys.modules)\n"
        f"for name in {SUBJECTS}: assert getattr(dmft, name) is sys.modules[f'dmft.{{name}}']\n"
        "assert callable(dmft.plotting.plot_solution)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def parameters_of(thing):
    """Names of the arguments that a user gives; None for what is not called."""
    if inspect.isclass(thing) or not callable(thing):
        return None
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.mark.parametrize("module, name", NAMES, ids=lambda part: part)
def test_every_public_name_is_explained(module, name):
    thing = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(thing) or callable(thing)):
        return
    text = inspect.getdoc(thing)
    assert text and len(text) > 20
    if inspect.isclass(thing):
        assert not text.startswith(f"{name}("), "a docstring of its own"
        return
    arguments = parameters_of(thing)
    if arguments:
        assert "Raises" in text, "says which errors it raises"
        missing = [argument for argument in arguments if argument not in text]
        assert not missing


# What handles files, settings or exact counts has no quantities.
WITHOUT_UNITS = {
    *(("dmft", name) for name in ("DmftError", "InputError", "Interrupted", "NotConverged")),
    *(("dmft", name) for name in ("load", "save")),
    *(("dmft.sweep", name) for name in importlib.import_module("dmft.sweep").__all__),
    *(
        ("dmft.conservation", name)
        for name in (
            "Architecture", "Certificate", "Count", "FloatCount", "FoundLaws", "count",
            "count_float", "dictionary_laws", "parse_architecture", "polynomial_laws",
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("module, name", NAMES, ids=lambda part: part)
def test_every_quantity_has_units(module, name):
    thing = getattr(importlib.import_module(module), name)
    if (module, name) not in WITHOUT_UNITS and (inspect.isclass(thing) or callable(thing)):
        assert re.search(r"\b[Uu]nits?\b|dimensionless", inspect.getdoc(thing))
