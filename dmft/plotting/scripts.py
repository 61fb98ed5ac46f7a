"""The script that charts of pages share; pages contain it, they load nothing."""

from __future__ import annotations

from importlib import resources


def chart_script() -> str:
    """JavaScript that defines `chart`, see the beginning of `chart.js`."""
    return resources.files("dmft.plotting").joinpath("chart.js").read_text(encoding="utf-8")
