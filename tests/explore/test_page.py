"""The page in a browser: controls moved, numbers read under the mouse, no complaint."""

from __future__ import annotations

import re
import shlex
import threading
import time

import pytest

import dmft
from dmft.config import load_config
from dmft.explore.server import ExploreServer
from dmft.explore.session import QUICK, Session

pytestmark = pytest.mark.browser
SETTINGS = ("solver.t_max=2.0", "problem.teacher.kind=gaussian")
READY = (
    "!document.getElementById('chart').classList.contains('old') && state.curves !== null"
    " && !state.curves.first_look"
)
DOTS = "[...document.querySelectorAll('#chart circle')]"


@pytest.fixture
def page(browse):
    session = Session(load_config(None, SETTINGS))
    with ExploreServer(session) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        page = browse()
        page.open(server.address, 1300, 1000)
        page.wait(READY)
        yield page
        session.close()
        server.shutdown()


def settle(page, number):
    """Wait for the answer after the request `number`: curves, or a refusal."""
    page.wait(
        f"state.number > {number} && (document.getElementById('error').textContent || ({READY}))"
    )
    return page.run("document.getElementById('error').textContent")


def choose(page, name, value):
    """Choose in a list of the page."""
    before = page.run("state.number")
    page.choose(name, value)
    return settle(page, before)


def read(page, number):
    """What the page says of its dot `number` under a real mouse."""
    page.hover(f"{DOTS}[{number}]")
    return page.run("document.getElementById('hover').textContent")


def test_sliders_move_and_the_mouse_reads_the_numbers_of_the_solve(page):
    sliders = page.run("[...document.querySelectorAll('input[type=range]')].map(each => each.id)")
    assert {"problem.sampling_ratio", "problem.noise_std", "problem.network.init_scale",
            "dynamics.weight_decay", "solver.t_max"} <= set(sliders)  # fmt: skip
    for name in sliders:
        before = page.run("state.number"), page.run(f"state.changes['{name}']")
        page.drag(f"[id='{name}']", 0.0 if name == "solver.t_max" else 0.55)
        assert settle(page, before[0]) == ""
        value = page.run(f"state.changes['{name}']")
        assert value != before[1]
        assert float(page.run(f"document.getElementById('{name}-number').value")) == value
    # What is drawn is what a solve with the copied settings and the quick accuracy gives.
    config = load_config(None, shlex.split(page.run("state.copies.command"))[5::2])
    solution = dmft.solve(config.problem, t_max=config.solver.t_max, **QUICK)
    nodes = len(solution.time)
    for number, name in enumerate(("train_mse", "excess_risk")):
        for node in (nodes // 2, nodes - 1):  # time zero is not on the axis
            words = read(page, number * (nodes - 1) + node - 1)
            low, high = solution.interval(name, 0.95)
            shown = re.match(r"(\S+) ± (\S+) \(half of the 95 % interval\)\n(.*)\n", words)
            assert float(shown[1]) == float(f"{getattr(solution, name)[node]:.5g}")
            assert float(shown[2]) == float(f"{(high - low)[node] / 2:.1e}")
    assert page.console == []


def test_lists_refusals_networks_and_copies(page):
    refused = choose(page, "problem.loss.kind", "logistic")
    assert "given 'linear' with loss 'logistic', allowed: sign, logit, random" in refused
    assert page.run("document.getElementById('overlay').disabled")
    assert choose(page, "problem.labels.kind", "sign") == ""
    assert page.run("state.curves.main.join()") == "train_loss,train_error,test_error"
    assert choose(page, "solver.t_max-number", 20) == ""
    assert choose(page, "dynamics.kind", "adam") == ""
    assert page.run("state.curves.time_label") == "steps"
    assert page.run("'dynamics.beta1' in state.changes && !('dynamics.momentum' in state.changes)")
    before = page.run(f"{DOTS}.length")
    page.click("#overlay")
    page.wait("state.networks !== null")
    assert page.run(f"{DOTS}.length") > before
    assert "4 networks of dimension 200" in page.run(
        "document.getElementById('status').textContent"
    )
    choices = page.run("[...document.getElementById('curve').options].map(each => each.value)")
    for name in choices:
        page.run(f"document.getElementById('curve').value = '{name}'; draw()")
        note = page.run("document.getElementById('note').textContent")
        assert page.run(f"{DOTS}.length") > 0 or "no value" in note, name
    for box in ("#log-x", "#log-y"):
        page.click(box)
        assert page.run(f"{DOTS}.length") > 0
    for kind in ("toml", "python", "command"):
        page.click(f"[data-copy={kind}]")
        page.wait("document.getElementById('copied').textContent !== ''")
        assert "adam" in page.run("document.getElementById('copy').textContent")
    page.click("#keep")
    assert page.run("state.kept.length") == 1
    for kind in ("gradient-descent", "sgd", "adamw", "rmsprop", "adagrad", "gradient-flow"):
        assert choose(page, "dynamics.kind", kind) == ""
    assert page.console == []


def test_what_takes_long_has_a_first_look(page, monkeypatch):
    """Its curves end earlier, the page says so, and the whole ones follow."""
    monkeypatch.setattr("dmft.explore.session.FIRST_LOOK", 1e-3)
    page.run(
        "window.looks = []; window.words = []; const drawn = draw, said = say;"
        "draw = () => { drawn(); looks.push(state.curves.time.at(-1)); };"
        "say = (status, error) => { said(status, error); words.push(status); }"
    )
    assert choose(page, "solver.t_max-number", 100) == ""
    early, whole = page.run("looks")
    assert early < whole == 100.0
    words = page.run("words")
    first = re.compile("First look: .* stopped at t = .* The whole solve goes on: $")
    assert any(first.match(each) for each in words)
    assert "First look" not in words[-1]
    assert page.console == []


def test_of_many_moves_the_last_one_is_drawn(page):
    page.run(
        "(async () => { for (let i = 1; i <= 20; i++) {"
        "const bar = document.getElementById('problem.noise_std'); bar.value = 40 * i;"
        "bar.dispatchEvent(new Event('input'));"
        "await new Promise((next) => setTimeout(next, 30)); } })()"
    )
    page.wait(READY)
    assert page.run("state.changes['problem.noise_std']") == 1.6
    time.sleep(0.3)
    start = page.run("state.curves.curves.train_mse.mean[0]")
    assert start == pytest.approx(1.0 + 1.6**2, rel=0.05)
    assert page.console == []
