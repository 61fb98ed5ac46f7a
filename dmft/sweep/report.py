"""A page about a collection in one HTML file: summary, chart to explore, pictures, table.

It loads nothing.
"""

from __future__ import annotations

import base64
import html
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dmft.config import changed_settings
from dmft.errors import InputError
from dmft.store import replacing
from dmft.sweep.collection import Collection
from dmft.sweep.drawing import label_of
from dmft.sweep.explorer import STYLE, explorer
from dmft.sweep.figures import plot_curves, plot_lines, plot_map

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.about { color: #555; margin-top: .2rem; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; white-space: nowrap; }
td.text { text-align: left; white-space: nowrap; }
td.reason { text-align: left; min-width: 16rem; }
tr.missing td { color: #777; background: #f3f3f3; } tr.failed td, tr.unreadable td
{ background: #fbe3d6; } tr.not-converged td { background: #fdf3d4; }
.counts span { display: inline-block; margin-right: 1.5rem; } .counts b { font-size: 1.3rem; }
"""
_SHOWN = ("excess_risk", "train_mse")


def write_report(collection: Collection, path: str | Path) -> None:
    """Write the page; it appears whole or not at all.

    Raises
    ------
    DmftError : writing failed.
    """
    title = f"Sweep {collection.path.stem}"
    body = "\n".join(
        [
            f"<h1>{html.escape(title)}</h1>",
            _about(collection),
            _counts(collection),
            explorer(collection),
            *_pictures(collection),
            "<h2>Points</h2>",
            _table(collection, Path(path).absolute().parent),
            "<h2>Settings other than the defaults, at all points</h2>",
            _settings(collection),
        ]
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
    with replacing(Path(path)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _about(collection: Collection) -> str:
    axes = " × ".join(
        f"{name} ({length})"
        for name, length in zip(collection.dimensions, collection.shape, strict=True)
    )
    words = f"{axes}; {', '.join(collection.tasks)}; collected {collection.created}"
    return f'<p class="about">{html.escape(words)}</p>'


def _counts(collection: Collection) -> str:
    counts = Counter(collection.status.ravel().tolist())
    spans = [f"<span><b>{collection.status.size}</b> points</span>"]
    spans += [f"<span><b>{number}</b> {state}</span>" for state, number in counts.items()]
    return f'<p class="counts">{"".join(spans)}</p>'


def _pictures(collection: Collection) -> Iterator[str]:
    several = sum(length > 1 for length in collection.shape)
    for curve in _SHOWN:
        there = [value for value in (f"final_{curve}", curve) if value in collection.values]
        if not there:
            continue
        finite = collection.values[there[0]][np.isfinite(collection.values[there[0]])]
        if not np.any(finite):  # a value that is zero everywhere needs no picture
            continue
        value, words = there[0], label_of(there[0])
        yield f"<h2>{html.escape(words).capitalize()}</h2>"
        if several > 1:
            # Labels that do not increase make no map; the lines are there all the same.
            with suppress(InputError):
                yield _picture(plot_map, collection, value, f"{words}, over the grid")
        yield _picture(plot_lines, collection, value, f"{words}, along the longest axis")
        if value != curve:
            yield _picture(plot_curves, collection, curve, f"{label_of(curve)} over time")


def _picture(
    plot: Callable[[Collection, Path, str], None],
    collection: Collection,
    what: str,
    caption: str,
) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        plot(collection, path, what)
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = html.escape(caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{text}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _table(collection: Collection, folder: Path) -> str:
    values = [name for name in collection.values if not name.endswith(("_stderr", "time"))]
    texts = [name for name in collection.texts if not name.endswith("file")]
    files = [name for name in collection.texts if name.endswith("file")]
    found = [*map(label_of, values + texts), *["results"] * bool(files)]
    names = [*collection.coordinates, "status", *found, "reason"]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = []
    for index in np.ndindex(collection.shape):
        cells = [_cell(_label(collection, name, index)) for name in collection.coordinates]
        status = str(collection.status[index])
        cells.append(_cell(status))
        for name in values:
            error = collection.values.get(f"{name}_stderr")
            cells.append(_number(float(collection.values[name][index]), error, index))
        cells += [_cell(collection.texts[name][index]) for name in texts]
        if files:
            cells.append(_links(collection, files, index, folder))
        cells.append(_cell(str(collection.reason[index]), "reason"))
        rows.append(f'<tr class="{html.escape(status)}">{"".join(cells)}</tr>')
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _links(
    collection: Collection, files: Sequence[str], index: tuple[int, ...], folder: Path
) -> str:
    """Links to the results of a point, relative to the folder of the page."""
    links = []
    for name in files:
        file = str(collection.texts[name][index])
        if file:
            path = os.path.relpath(collection.path.absolute().parent / file, folder)
            words = name.removesuffix("file").rstrip("_") or "file"
            links.append(f'<a href="{html.escape(quote(path))}">{html.escape(words)}</a>')
    return f'<td class="text">{" ".join(links)}</td>'


def _label(collection: Collection, name: str, index: tuple[int, ...]) -> Any:
    dimension, labels = collection.coordinates[name]
    return labels[index[collection.dimensions.index(dimension)]]


def _cell(value: Any, kind: str = "text") -> str:
    if isinstance(value, str):
        return f'<td class="{kind}">{html.escape(value)}</td>'
    return f"<td>{value:.6g}</td>"


def _number(value: float, errors: np.ndarray | None, index: tuple[int, ...]) -> str:
    if not np.isfinite(value):
        return "<td>–</td>"
    error = "" if errors is None or not np.isfinite(errors[index]) else f" ± {errors[index]:.1e}"
    return f"<td>{value:.5g}{error}</td>"


def _settings(collection: Collection) -> str:
    changed = changed_settings(collection.config)
    if not changed:
        return "<p>none</p>"
    rows = "".join(
        f'<tr><td class="text">{html.escape(key)}</td>'
        f'<td class="text">{html.escape(json.dumps(value))[:200]}</td></tr>'
        for key, value in changed.items()
    )
    return f'<div class="table"><table><tbody>{rows}</tbody></table></div>'
