"""A source distribution has every file of the repository, a wheel the package with its data.

Both are built and installed in an empty environment by a slow test.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git repository")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def source_distribution(tracked, copy, python):
    """The archive that a checkout without anything else makes."""
    for name in tracked:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    program = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    subprocess.run([python, "-c", program], cwd=copy, check=True, capture_output=True)
    (archive,) = (copy / "dist").iterdir()
    return archive


def test_source_distribution_is_complete(tracked, tmp_path):
    pytest.importorskip("setuptools", minversion="68")
    archive = source_distribution(tracked, tmp_path / "copy", sys.executable)
    with tarfile.open(archive) as contents:
        packed = {
            member.name.partition("/")[2] for member in contents.getmembers() if member.isfile()
        }
    assert tracked - packed == set()
    generated = {"PKG-INFO", "setup.cfg"}
    assert {name for name in packed - tracked - generated if "egg-info" not in name} == set()


def test_minimum_versions_are_those_of_the_settings():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/minimum_versions"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.split()
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for requirement in settings["options"]["install_requires"].split("\n"):
        if requirement:
            assert requirement.replace(" >= ", "==") in lines
    assert not any(line.startswith("torch") for line in lines)
    assert (
        f"Python :: {settings['options']['python_requires'].removeprefix('>=')}"
        in (settings["metadata"]["classifiers"])
    )


def test_conda_recipe_is_that_of_the_settings():
    """Rendered as conda does, without conda: what it needs, runs and tests is of this package."""
    jinja2, yaml = pytest.importorskip("jinja2"), pytest.importorskip("yaml")
    text = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    recipe = yaml.safe_load(template.render(PYTHON="python"))
    assert set(recipe) == {
        "package", "source", "build", "requirements", "test", "about",
    }  # fmt: skip
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    metadata, options = settings["metadata"], settings["options"]
    names = {"matplotlib": "matplotlib-base"}  # the package without a graphical toolkit
    lines = [line.split(" ") for line in options["install_requires"].split("\n") if line]
    expected = {f"{names.get(name, name)} {sign}{least}" for name, sign, least in lines}
    python = f"python {options['python_requires']}"
    assert set(recipe["requirements"]["run"]) == expected | {python}
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    host = {line.replace(">=", " >=").replace("  ", " ") for line in built}
    assert set(recipe["requirements"]["host"]) == host | {python, "pip"}
    assert recipe["package"] == {"name": metadata["name"], "version": metadata["version"]}
    assert recipe["about"]["license"] == metadata["license"]
    assert recipe["about"]["summary"] == metadata["description"]
    assert (ROOT / "recipe" / recipe["source"]["path"] / "setup.cfg").resolve().is_file()
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    scripts = settings["options.entry_points"]["console_scripts"].split("\n")
    assert recipe["build"]["entry_points"] == [line for line in scripts if line]
    for module in recipe["test"]["imports"]:
        importlib.import_module(module)
    for command in recipe["test"]["commands"]:
        if command.startswith("dmft"):
            words = [sys.executable, "-m", *command.split()]
            subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_it_installs_into_an_empty_environment(tracked, tmp_path):
    """From the source distribution, through a wheel, with nothing of this checkout in sight."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["MPLBACKEND"] = "Agg"

    def run(*command):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "setuptools>=68")
    archive = source_distribution(tracked, tmp_path / "copy", python)
    run(*pip, archive)
    where = Path(run(python, "-c", "import dmft; print(dmft.__path__[0])").strip())
    assert where.is_relative_to(tmp_path / "empty")
    packaged = {
        name for name in tracked if name.startswith("dmft/") and not Path(name).match("*.md")
    }
    installed = {f"dmft/{path.relative_to(where)}" for path in where.rglob("*") if path.is_file()}
    assert packaged - installed == set()
    (metadata,) = where.parent.glob("dmft-*.dist-info")
    assert (metadata / "METADATA").exists() and list(metadata.rglob("LICENSE"))
    command = tmp_path / "empty" / "bin" / "dmft"
    small = (
        "--set",
        "solver.t_max=1",
        "--set",
        "solver.n_paths=64",
        "--set",
        "solver.replicates=2",
    )
    assert "dmft 0." in run(command, "--version")
    assert "status: done" in run(command, "solve", "-o", "out.h5", *small)
    run(command, "plot", "out.h5", "-o", "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "relaxation rate" in run(command, "theory")
    run(python, "-m", "pip", "check")
