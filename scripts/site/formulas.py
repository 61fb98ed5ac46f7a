"""Formulas without a network: MathJax is copied into the site, as one file that draws SVG."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

_FILE = "mathjax/tex-svg.js"


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.config.mathjax_path = Path(_FILE).name
    app.config.mathjax3_config = {
        "svg": {"fontCache": "local"},
        "options": {"enableMenu": False},
    }
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _copy(app: Any, failure: Exception | None) -> None:
    if failure is None:
        package = importlib.import_module("sphinx-mathjax-offline")
        source = Path(str(package.__file__)).parent / "static" / _FILE
        shutil.copyfile(source, Path(app.outdir) / "_static" / source.name)
