"""A source distribution has every file of the repository, a wheel the package with its data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
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


def test_source_distribution_is_complete(tracked, tmp_path):
    pytest.importorskip("setuptools", minversion="68")
    copy = tmp_path / "copy"
    for name in tracked:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    program = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    subprocess.run([sys.executable, "-c", program], cwd=copy, check=True, capture_output=True)
    (archive,) = (copy / "dist").iterdir()
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
