"""The server of the page: whom it answers, what it answers, what it gives up."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import html5lib
import numpy as np
import pytest

import dmft
from dmft.config import load_config
from dmft.errors import InputError
from dmft.explore.server import ExploreServer
from dmft.explore.session import QUICK, Session
from dmft.plotting.style import half_width


@pytest.fixture
def served():
    session = Session(load_config(None, ("solver.t_max=1.0",)))
    with ExploreServer(session) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        session.close()
        server.shutdown()


def ask(server, name="", body=None, host=None, token=None, kind="application/json"):
    """Status, headers and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    method = "GET" if body is None else "POST"
    connection.putrequest(method, f"/{token or server.token}/{name}", skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.putheader("Content-Type", kind)
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def request(number=1, **changes):
    return {"page": "p", "number": number, "changes": changes}


def test_it_listens_to_this_machine_and_answers_those_who_know_its_address(served):
    assert served.server_address[0] == "127.0.0.1"
    status, headers, text = ask(served)
    assert status == 200 and "</html>" in text
    html5lib.HTMLParser(strict=True).parse(text)
    policy = headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert policy.startswith("default-src 'none'") and text.count(f'nonce="{nonce}"') == 2
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text)
    assert nonce not in ask(served)[2]
    assert ask(served, host=f"localhost:{served.server_port}")[0] == 200
    for host in ("evil.example", f"evil.example:{served.server_port}", "127.0.0.1:1"):
        assert ask(served, host=host)[0] == 403
        assert ask(served, "settings", request(), host=host)[0] == 403
    for token in ("wrong", served.token[:-1], served.token + "x"):
        assert ask(served, token=token)[0] == 404
        assert ask(served, "settings", request(), token=token)[0] == 404
    assert ask(served, "other")[0] == 404 and ask(served, "other", request())[0] == 404
    assert ask(served, "settings", request(), kind="text/plain")[0] == 415
    for body in (b"", b"{", b"[]", b"\xff"):
        assert ask(served, "settings", body)[0] == 400
    assert "must have page" in lines(ask(served, "settings", {"page": 1})[2])[0]["error"]


def test_settings_have_controls_and_copies_or_one_line_of_refusal(served):
    (answer,) = lines(ask(served, "settings", request())[2])
    assert set(answer) == {"number", "controls", "copies"}
    (answer,) = lines(ask(served, "settings", request(**{"problem.loss.kind": "hinge"}))[2])
    assert set(answer) == {"number", "controls", "error"}
    assert "given 'linear' with loss 'hinge', allowed: sign" in answer["error"]
    (answer,) = lines(ask(served, "settings", request(**{"problem.noise_std": -1}))[2])
    assert "problem.noise_std" in answer["error"] and "\n" not in answer["error"]
    (answer,) = lines(ask(served, "settings", request(**{"dynamics.kind": 3}))[2])
    assert "dynamics.kind: given 3, allowed: gradient-flow" in answer["error"]


def test_curves_are_those_of_a_quick_solve_and_networks_those_of_a_simulation(served, monkeypatch):
    monkeypatch.setattr("dmft.explore.session.FIRST_LOOK", 600.0)
    *before, answer = lines(ask(served, "curves", request(**{"problem.sampling_ratio": 0.7}))[2])
    assert all(0.0 <= each["progress"] <= 1.0 for each in before)
    solution = dmft.solve(dmft.Problem(sampling_ratio=0.7), t_max=1.0, **QUICK)
    curve = answer["curves"]["excess_risk"]
    assert answer["status"] == "done" and answer["main"] == ["train_mse", "excess_risk"]
    assert answer["time"] == solution.time.tolist()
    assert curve["mean"] == solution.excess_risk.tolist()
    assert curve["error"] == half_width(solution, "excess_risk").tolist()
    assert curve["line"] == solution.curve_at("excess_risk", answer["times"]).tolist()
    assert f"{QUICK['n_paths']} paths" in answer["how"]
    body = {**request(**{"problem.sampling_ratio": 0.7}), "dimension": 60}
    *_, answer = lines(ask(served, "networks", body)[2])
    found = dmft.simulate(
        dmft.Problem(sampling_ratio=0.7), dimension=60, seeds=4, points=12, rtol=1e-3, t_max=1.0
    )
    assert answer["curves"]["excess_risk"]["mean"] == found.excess_risk.tolist()
    assert np.isfinite(answer["curves"]["excess_risk"]["error"]).all()
    *_, answer = lines(ask(served, "networks", {**body, "dimension": "x"})[2])
    assert "dimension: given 'x', must be from 2 to 2000" in answer["error"]
    flow = {"dynamics.kind": "stochastic-gradient-flow"}
    *_, answer = lines(ask(served, "networks", {**request(**flow), "dimension": 60})[2])
    assert "simulate 'sgd'" in answer["error"]


def test_a_slow_solve_has_a_first_look(served, monkeypatch):
    monkeypatch.setattr("dmft.explore.session.FIRST_LOOK", 1e-6)
    answers = lines(ask(served, "curves", request())[2])
    look, answer = (each for each in answers if "curves" in each)
    assert look["first_look"] and not answer["first_look"]
    assert look["time"][-1] < answer["time"][-1] == 1.0
    assert "by the time limit" in look["reason"] and answer["reason"] == ""


def test_what_is_outdated_is_given_up(served):
    found = []
    slow = request(1, **{"solver.t_max": 1e6, "problem.network.init_scale": 1e-3})

    def wait():
        found.extend(lines(ask(served, "curves", slow)[2]))

    ask(served, "settings", slow)
    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    ask(served, "settings", request(2))
    thread.join(60)
    assert found[-1] == {"number": 1, "outdated": True}
    (answer,) = lines(ask(served, "curves", slow)[2])
    assert answer["outdated"]
    other = {**request(1, **{"solver.t_max": 0.1}), "page": "q"}  # another page has its own numbers
    assert "curves" in lines(ask(served, "curves", other)[2])[-1]


def test_a_port_that_is_taken_is_refused(served):
    with pytest.raises(InputError, match="--port: given .*, cannot listen there"):
        ExploreServer(served.session, served.server_port)
    with pytest.raises(InputError, match="--port"):
        ExploreServer(served.session, 70_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command(number):
    command = [sys.executable, "-m", "dmft", "explore", "--set", "solver.t_max=1.0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What runs in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    line = process.stdout.readline()
    assert re.fullmatch(r"the page is at http://127\.0\.0\.1:\d+/[\w-]+/ \(Ctrl-C ends\)\n", line)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended\n", "")
