"""A Slurm cluster of one node on this machine: munged, slurmctld and slurmd on loopback.

They run with a key, ports and folders of their own, beside any other Slurm. Needs root and Debian's
packages slurm-wlm and munge.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
CPUS = 2


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "slurmctld and slurmd must be started by root"


class Cluster:
    """Commands against the cluster, with the environment that they need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def states(self, job: str) -> list[str]:
        """States of the tasks of a job; finished ones are forgotten only after some minutes."""
        return self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T").split()

    def wait(self, condition, seconds: float, what: str):
        """Poll until a condition holds, and return what it returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"waited {seconds:g} s for {what}\n{self.report()}")

    def report(self) -> str:
        """Queue and ends of the logs, for failure messages."""
        text = [self.run("squeue", "-r", "-t", "all", check=False)]
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            text.append("\n".join([f"-- {path.name}", *lines]))
        return "\n".join(text)


class CannotStart(Exception):
    """The daemons are installed, but do not run here."""


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start the three daemons, wait until the node is idle, and end them afterwards.

    Raises
    ------
    CannotStart : with the ends of their logs.
    """
    running: list[subprocess.Popen[bytes]] = []
    there = Cluster(folder)
    try:
        try:
            _start_all(there, running)
        except AssertionError as error:
            raise CannotStart(str(error)) from None
        yield there
    finally:
        if len(running) > 1:
            there.run("scancel", "--full", "-u", "root", check=False)
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start_all(there: Cluster, running: list[subprocess.Popen[bytes]]) -> None:
    _write_configuration(there.folder)
    running.append(_start(there, _munged(there.folder), "munged"))
    there.wait((there.folder / "munge.socket").exists, 10, "munged")
    options = ["-D", "-f", str(there.folder / "slurm.conf")]
    running.append(_start(there, ["slurmctld", *options], "slurmctld"))
    running.append(_start(there, ["slurmd", *options], "slurmd"))

    def idle() -> bool:
        return "idle" in there.run("sinfo", "-h", "-o", "%t", check=False).split()

    there.wait(idle, 30, "an idle node")


def _start(there: Cluster, command: Sequence[str], name: str) -> subprocess.Popen[bytes]:
    with (there.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command, env=there.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )


def _munged(folder: Path) -> list[str]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    return [
        "munged", "--foreground", "--force", f"--key-file={key}",
        f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munge-daemon.log", f"--seed-file={folder}/munge.seed",
    ]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_configuration(folder: Path) -> None:
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={_free_port()}
SlurmdPort={_free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=300
SlurmctldTimeout=60
SlurmdTimeout=60
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""
    )
