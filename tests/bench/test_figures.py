"""The picture of the race ends where waiting does."""

from __future__ import annotations

from matplotlib.figure import Figure

from dmft.bench.figures import draw_race


def outcome(seconds):
    rungs = [{"error": 0.1, "stderr": 0.01, "seconds": 1.0}]
    curve = [[1.0, 0.1], [seconds, 0.001]]
    return {
        "rungs": rungs,
        "curve": curve,
        "reached": {"0.01": {"seconds": seconds, "measured": 0}},
    }


def test_times_that_nobody_waits_for_stand_at_the_edge(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    contestants = {"mean-field": outcome(5.0), "classical": outcome(3.16e13)}
    results = {
        "A": {"curve": "excess_risk", "title": "one", "contestants": contestants},
        "B": {"curve": "excess_risk", "title": "two",
              "contestants": {"mean-field": outcome(5.0)}},
    }  # fmt: skip
    draw_race(results, tmp_path / "race.png")
    cut, whole = drawn[0].axes
    assert cut.get_xlim()[1] == 3.16e9 and whole.get_xlim()[1] < 100.0
    assert [text.get_text() for text in cut.texts] == ["0.01", "1,000,000 years \u2192"]
    assert [text.get_text() for text in whole.texts] == ["0.01"]
