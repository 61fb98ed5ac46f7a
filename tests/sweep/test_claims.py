"""Claims: one owner at a time, and the dead are recognised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from dmft.sweep import claims
from dmft.sweep.claims import acquire, active, claimed
from tests.helpers import names


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "running").mkdir()
    return tmp_path / "running"


def claim_and_die(folder, progress):
    """Claim in another process, which is then killed."""
    child = os.fork()
    if child == 0:
        acquire(folder, "item", progress)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_one_owner_at_a_time(folder):
    with claimed(folder, "item", folder / "item.h5") as claim:
        assert claim is not None and not claim.lost()
        with claimed(folder, "item", folder / "item.h5") as second:
            assert second is None
        with claimed(folder, "other", folder / "other.h5") as other:
            assert other is not None
        assert names(folder) == ["item.claim-0"]
        assert active(folder)["item"]["pid"] == os.getpid()
    assert names(folder) == [] and active(folder) == {}


def test_owner_of_this_host_is_known_to_be_dead(folder):
    claim_and_die(folder, folder / "item.h5")
    assert names(folder) == ["item.claim-0"] and active(folder) == {}
    claim = acquire(folder, "item", folder / "item.h5")
    assert claim is not None and claim.number == 1
    assert acquire(folder, "item", folder / "item.h5") is None
    claim.release()
    assert names(folder) == []


def test_a_process_number_used_again_is_somebody_else(folder, monkeypatch):
    claim = acquire(folder, "item", folder / "item.h5")
    text = claim.path.read_text()
    started = claims._started(os.getpid())
    claim.path.write_text(text.replace(str(started), str(started - 1)))
    assert acquire(folder, "item", folder / "item.h5").number == 1


def test_zombie_is_dead(folder):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert claims._started(process.pid) is None
    process.wait()


def test_deaths_count_until_there_is_progress(folder):
    progress = folder / "item.h5"
    for deaths in range(3):
        claim_and_die(folder, progress)
        claim = acquire(folder, "item", progress)
        assert claim.deaths == 2 * deaths + 1
        claim.path.write_text(claim.path.read_text().replace(f'"pid": {os.getpid()}', '"pid": -1'))
    progress.write_text("further")
    assert acquire(folder, "item", progress).deaths == 0


def elsewhere(monkeypatch, place="another host"):
    monkeypatch.setattr(claims, "_place", lambda: place)


def test_owner_of_another_host_is_judged_by_its_pulse(folder, monkeypatch):
    elsewhere(monkeypatch)
    with claimed(folder, "item", folder / "item.h5", stale_seconds=0.8) as claim:
        monkeypatch.setattr(claims, "_place", lambda: "here")
        end = time.monotonic() + 1.6
        while time.monotonic() < end:  # twice the age at which it would count as abandoned
            assert acquire(folder, "item", folder / "item.h5", stale_seconds=0.8) is None
            time.sleep(0.1)
        assert not claim.lost()


def test_abandoned_claim_of_another_host_is_taken_over_once(folder, monkeypatch):
    elsewhere(monkeypatch)
    old = acquire(folder, "item", folder / "item.h5")
    long_ago = time.time() - 1000
    os.utime(old.path, (long_ago, long_ago))
    monkeypatch.setattr(claims, "_place", lambda: "here")
    new = acquire(folder, "item", folder / "item.h5")
    assert new.number == 1 and old.lost() and not new.lost()
    # What the former owner still does, does not take the claim from the new one.
    os.utime(old.path)
    assert acquire(folder, "item", folder / "item.h5") is None


def test_clock_of_the_file_system_counts(folder, monkeypatch):
    elsewhere(monkeypatch)
    acquire(folder, "item", folder / "item.h5")
    monkeypatch.setattr(claims, "_place", lambda: "here")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert acquire(folder, "item", folder / "item.h5") is None


def test_claim_that_is_just_being_written_counts(folder):
    (folder / "item.claim-0").touch()
    assert acquire(folder, "item", folder / "item.h5") is None


def _race(folder, barrier, wins):
    barrier.wait()
    if acquire(folder, "item", folder / "item.h5") is not None:
        wins.put(os.getpid())
    barrier.wait()  # nobody dies before all have tried


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_exactly_one_wins(folder, stale):
    context = get_context("fork")
    for _ in range(5):
        for path in folder.iterdir():
            path.unlink()
        if stale:
            claim_and_die(folder, folder / "item.h5")
        barrier, wins = context.Barrier(6), context.SimpleQueue()
        processes = [
            context.Process(target=_race, args=(folder, barrier, wins)) for _ in range(6)
        ]  # fmt: skip
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert not wins.empty() and wins.get() and wins.empty()


@pytest.mark.skipif(os.geteuid() != 0, reason="a process namespace of its own needs root")
def test_owner_in_another_process_namespace(folder):
    """Where process numbers mean nothing, as on another host or in a container."""
    program = (
        "import sys, time; from pathlib import Path; from dmft.sweep.claims import claimed\n"
        "with claimed(Path(sys.argv[1]), 'item', Path('x'), stale_seconds=2.0) as claim:\n"
        "    print(claim.number, flush=True); time.sleep(60)"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command += [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    ) as process:
        if process.stdout.readline() != b"0\n":
            pytest.skip("namespaces are not allowed here")
        time.sleep(3.0)  # it is alive, and shows that
        assert acquire(folder, "item", folder / "x", stale_seconds=2.0) is None
        process.kill()
    assert acquire(folder, "item", folder / "x", stale_seconds=2.0) is None  # not known yet
    time.sleep(2.5)
    assert acquire(folder, "item", folder / "x", stale_seconds=2.0).number == 1
