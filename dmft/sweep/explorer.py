"""The part of the report that answers: axes, colours and scales to choose, values under the mouse.

Data and script are in the page; nothing is loaded. Without scripts the page says so, and its
pictures and table hold the same numbers.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np

from dmft.plotting.scripts import chart_script
from dmft.sweep.collection import Collection
from dmft.sweep.drawing import label_of

STYLE = """\
#explorer label { margin-right: 1rem; white-space: nowrap; }
#explorer .chart { position: relative; max-width: 760px; }
#explorer svg { width: 100%; height: auto; font-size: 12px; }
#explorer input[type=range] { vertical-align: middle; width: 9rem; }
#explorer circle:focus { outline: 2px solid #222; }
#grid-hover { position: absolute; margin: 0; padding: .3rem .5rem; font-size: .85rem;
              white-space: pre; background: #fff; border: 1px solid #888; pointer-events: none; }
@media (max-width: 36rem) { #explorer svg { font-size: 19px; } }
#grid-key span { display: inline-block; margin-right: 1rem; } #grid-note { color: #555; }
"""
_BODY = """\
<section id="explorer">
<h2>Look around</h2>
<p><label>value <select id="grid-value"></select></label>
<label>along <select id="grid-x"></select></label>
<label>a colour for each <select id="grid-by"></select></label>
<label><input type="checkbox" id="grid-log-x"> along: logarithmic</label>
<label><input type="checkbox" id="grid-log-y"> value: logarithmic</label></p>
<p id="grid-fixed">at </p>
<div class="chart"><svg id="grid-chart" viewBox="0 0 760 400" role="img"
aria-label="the chosen value over the grid"></svg><p id="grid-hover" hidden></p></div>
<p id="grid-key"></p><p id="grid-note"></p>
<noscript><p>This chart needs scripts; pictures and table hold the same numbers.</p></noscript>
</section>"""


def explorer(collection: Collection) -> str:
    """The section of the page, empty where no point has a value."""
    data = _data(collection)
    if not data["values"]:
        return ""
    # Text in a script ends at "</script", whatever a label may hold.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    script = resources.files("dmft.sweep").joinpath("explorer.js").read_text(encoding="utf-8")
    return (
        f'{_BODY}\n<script type="application/json" id="grid-data">{text}</script>\n'
        f"<script>\n{chart_script()}{script}</script>"
    )


def _data(collection: Collection) -> dict[str, Any]:
    """Axes with their labels; of every point, in the order of C, its state, time and values."""
    values = {
        name: {
            "words": label_of(name),
            "mean": _numbers(array),
            "error": _numbers(collection.values[f"{name}_stderr"])
            if f"{name}_stderr" in collection.values
            else None,
        }
        for name, array in collection.values.items()
        if not name.endswith(("_stderr", "time")) and np.isfinite(array).any()
    }
    first = [name for name in values if "excess_risk" in name]
    order = [*first, *(name for name in values if name not in first)]
    return {
        "axes": [
            {"name": name, "labels": _labels(collection.coordinates[name][1])}
            for name in collection.dimensions
        ],
        "status": [str(status) for status in collection.status.ravel()],
        "reason": [str(reason) for reason in collection.reason.ravel()],
        "seconds": _numbers(collection.values["wall_seconds"])
        if "wall_seconds" in collection.values  # older collections have none
        else None,
        "values": {name: values[name] for name in order},
    }


def _labels(labels: np.ndarray) -> list[Any]:
    """Numbers where they are finite, else text."""
    return [
        label if not isinstance(label, float) or np.isfinite(label) else str(label)
        for label in labels.tolist()
    ]


def _numbers(values: np.ndarray) -> list[float | None]:
    """None where there is no number."""
    return [value if np.isfinite(value) else None for value in values.ravel().tolist()]
