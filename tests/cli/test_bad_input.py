"""Every mistake is answered by one line that names it, before any work and without any trace."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from dmft.cli.main import main
from dmft.config import Config
from dmft.problem import Problem
from dmft.problem.population import strata
from dmft.store import locked, save, save_checkpoint


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, make_solution, make_simulation):
    """A folder with good and bad files of every kind."""
    with contextlib.chdir(tmp_path_factory.mktemp("prepared")):
        _prepare(make_solution, make_simulation)
        return Path.cwd()


@pytest.fixture
def files(tmp_path, prepared, monkeypatch):
    """A copy of the prepared folder; computing anything is a failure."""
    folder = shutil.copytree(prepared, tmp_path / "files")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("dmft.solver.solve", _refuse_to_compute, raising=False)
    monkeypatch.setattr("dmft.simulation.simulate", _refuse_to_compute)
    return folder


def _prepare(make_solution, make_simulation):
    save("out.h5", make_solution())
    save("sim.h5", make_simulation())
    save("other.h5", make_simulation(problem=Problem(noise_std=0.7)))
    Path("truncated.h5").write_bytes(Path("out.h5").read_bytes()[:5000])
    Path("text.h5").write_text("time,train_mse\n")
    with h5py.File("foreign.h5", "w") as file:
        file.attrs["schema"] = "climate-model"
    for name, attribute, value in [
        ("newer.h5", "schema_version", "3.0"),
        ("status.h5", "status", 1),
    ]:
        save(name, make_solution())
        with h5py.File(name, "a") as file:
            file.attrs[attribute] = value
    save("gap.h5", make_solution())
    save_checkpoint("running.h5", Config(), {"panel": 1})
    save_checkpoint("corrupted.h5", Config(), {"panel": 1})
    with h5py.File("gap.h5", "a") as file:
        del file["kernels/overlap"]
    with h5py.File("corrupted.h5", "a") as file:
        file["checkpoint/table"][0] = ord("[")
    Path("folder").mkdir()
    Path("good.toml").write_text("[solver]\nt_max = 5\n")
    Path("invalid.toml").write_text("[solver\nt_max = 5\n")
    Path("binary.toml").write_bytes(b"\xff\xfe\x00\x01")
    Path("text.toml").write_text("[solver]\nt_max = 'long'\n")
    Path("empty.h5").touch()
    Path("grid.toml").write_text("[axes]\nproblem.noise_std = [1]\n")
    Path("model.toml").write_text("[model]\nkind = 'diagonal'\ndimension = 3\n")
    Path("scalar.toml").write_text("solver = 3\n")


def _refuse_to_compute(problem, **_options):
    strata(problem)  # the only check that is left to what computes
    raise AssertionError("bad input was computed with")


def setting(name: str, text: str, *words: str, command: str = "solve"):
    """A case that changes one setting."""
    argv = [command, "-o", "new.h5", "--set", f"{name}={text}"]
    return pytest.param(argv, [name.removesuffix(".kind"), *words], id=f"{command} {name}={text}")


def case(line: str, *words: str):
    """A case given as a command line."""
    return pytest.param(line.split(), words, id=line or "nothing")


CASES = [
    # values of settings
    setting("problem.sampling_ratio", "-0.5", "given -0.5", "greater than 0"),
    setting("problem.sampling_ratio", "0", "given 0", "greater than 0"),
    setting("problem.sampling_ratio", "nan", "given nan", "must be"),
    setting("problem.sampling_ratio", "half", "given 'half'", "number"),
    setting("problem.sampling_ratio", "[1]", "given [1]", "number"),
    setting("problem.noise_std", "inf", "given inf", "finite"),
    setting("problem.noise_std", "-1", "given -1", "at least 0"),
    setting("problem.teacher.density", "0", "given 0", "greater than 0"),
    setting("problem.teacher.density", "1.5", "given 1.5", "at most 1"),
    setting("problem.teacher.kind", "cauchy", "'cauchy'", "gaussian"),
    setting("problem.teacher.std", "1", "unknown key", "density"),
    setting("problem.network.depth", "1", "given 1", "at least 2"),
    setting("problem.network.depth", "2.5", "given 2.5", "must be an integer"),
    setting("problem.network.init_scale", "0", "given 0", "greater than 0"),
    setting("problem.network.kind", "convolutional", "'convolutional'", "diagonal"),
    setting("dynamics.weight_decay", "-0.1", "given -0.1", "at least 0"),
    setting("dynamics.kind", "newton", "given", "'newton'", "gradient-flow"),
    setting("dynamics.step_size", "0.1", "unknown key"),
    setting("solver.t_max", "0", "given 0", "greater than 0"),
    setting("solver.t_max", "-3", "given -3", "greater than 0"),
    setting("solver.n_paths", "10", "given 10", "at least 64"),
    setting("solver.n_paths", "100.5", "given 100.5", "integer"),
    setting("solver.replicates", "0", "given 0", "at least 1"),
    setting("solver.rtol", "0", "given 0", "at least 1e-08"),
    setting("solver.rtol", "0.5", "given 0.5", "at most 0.1"),
    setting("solver.seed", "-1", "given -1", "at least 0"),
    setting("solver.target_error", "0", "given 0", "greater than 0"),
    setting("solver.t_maxx", "5", "unknown key", "did you mean 't_max'"),
    setting("simulation.dimension", "1", "given 1", "at least 2", command="simulate"),
    setting("simulation.seeds", "0", "given 0", "at least 1", command="simulate"),
    setting("simulation.design", "cubic", "'cubic'", "gaussian", command="simulate"),
    setting("simulation.points", "1", "given 1", "at least 2", command="simulate"),
    case("solve -o new.h5 --set solvr.t_max=5", "solvr", "did you mean 'solver'"),
    case("solve -o new.h5 --set t_max=5", "--set", "'t_max=5'", "section.key=value"),
    case("solve -o new.h5 --set solver.t_max", "--set", "section.key=value"),
    case("solve -o new.h5 --set .=5", "--set", "section.key=value"),
    case("solve -o new.h5 --set", "--set", "expected one argument"),
    pytest.param(
        ["solve", "-o", "new.h5", "--set", "problem.teacher="
         "{kind='discrete',values=[1,2],weights=[1]}"],
        ["problem.teacher", "1 weights for 2 values"],
        id="weights of another length",
    ),
    pytest.param(
        ["solve", "-o", "new.h5", "--set", "problem.features={kind='discrete',values=[1,-2]}"],
        ["problem.features.values", "given -2", "greater than 0"],
        id="negative variance",
    ),
    pytest.param(
        ["solve", "-o", "new.h5", "--set", "problem.teacher={kind='discrete',values=[]}"],
        ["problem.teacher.values", "given [], must have 1 or more values"],
        id="no values",
    ),
    pytest.param(
        ["solve", "-o", "new.h5", "--set", "problem.network={init_u=0.1,init_v=0.2,depth=3}"],
        ["problem.network", "a0, b0 > 0"],
        id="start that a deep network cannot use",
    ),
    pytest.param(
        ["solve", "-o", "new.h5", "--set", "solver.seed=1\nevil=2"],
        ["solver.seed", "integer"],
        id="line break in a value",
    ),
    # configuration files
    case("solve absent.toml -o new.h5", "absent.toml", "no such file"),
    case("solve folder -o new.h5", "folder", "cannot be read", "directory"),
    case("solve invalid.toml -o new.h5", "invalid.toml", "not valid TOML", "line 1"),
    case("solve binary.toml -o new.h5", "binary.toml", "not a text file"),
    case("solve out.h5 -o new.h5", "out.h5", "not a text file"),
    case("solve text.toml -o new.h5", "solver.t_max", "'long'", "number"),
    case("solve scalar.toml -o new.h5", "solver", "given 3", "section"),
    case("solve grid.toml -o new.h5", "grid.toml: is a grid of problems, see `dmft sweep plan`"),
    case("theory model.toml", "model.toml: is of a model, see `dmft symmetry`"),
    case("config problem.noise_std=3", "no such file, did you mean --set problem.noise_std=3?"),
    case("solve 0.3 -o new.h5 --set problem.noise_std", "must be section.key=value"),
    case("symmetry check grid.toml", "grid.toml: is a grid of problems"),
    case("conservation count file grid.toml", "grid.toml: kind: required"),
    case("conservation model absent.json", "absent.json: cannot be read, no such file"),
    case("simulate absent.toml -o new.h5", "absent.toml", "no such file"),
    # output
    case("solve", "-o/--output", "required"),
    case("solve -o", "-o/--output", "expected one argument"),
    case("solve -o absent/new.h5", "absent", "does not exist"),
    case("solve -o folder", "folder", "is a folder"),
    case("solve -o out.h5", "out.h5", "exists already", "--overwrite"),
    case("solve -o running.h5", "running.h5", "unfinished", "dmft resume running.h5"),
    case("solve -o good.toml/new.h5", "good.toml", "does not exist"),
    case("solve good.toml -o good.toml --overwrite", "good.toml", "input and as output"),
    case("solve -o /dev/null --overwrite", "/dev/null", "device"),
    case("simulate -o out.h5", "out.h5", "exists already"),
    case("simulate -o folder", "is a folder"),
    case("plot out.h5 -o fig.jpg", "fig.jpg", "'.jpg'", ".png, .pdf, .svg"),
    case("plot out.h5 -o fig", "fig", "ending ''", ".png"),
    case("plot out.h5 -o absent/fig.png", "absent", "does not exist"),
    case("plot out.h5", "-o/--output", "required"),
    case("compare out.h5 sim.h5 --plot fig.txt", "fig.txt", "'.txt'", ".png"),
    # result files
    case("plot absent.h5 -o fig.png", "absent.h5", "no such file"),
    case("plot truncated.h5 -o fig.png", "truncated.h5", "truncated"),
    case("plot text.h5 -o fig.png", "text.h5", "not an HDF5 file"),
    case("plot folder -o fig.png", "folder", "is a folder"),
    case("plot running.h5 -o fig.png", "running.h5", "unfinished", "dmft resume running.h5"),
    case("plot gap.h5 -o fig.png", "gap.h5", "/kernels/overlap is missing"),
    case("info foreign.h5", "foreign.h5", "climate-model", "written by dmft"),
    case("info newer.h5", "newer.h5", "version 3.0", "up to 2"),
    case("info text.h5", "text.h5", "not an HDF5 file"),
    case("info empty.h5", "empty.h5: is empty"),
    case("info absent.h5", "absent.h5", "no such file"),
    case("compare sim.h5 out.h5", "sim.h5", "is a simulation", "must be a solution"),
    case("compare sim.h5 sim.h5", "sim.h5", "is a simulation"),
    case("compare out.h5 out.h5", "out.h5", "is a solution", "must be a simulation"),
    case("compare out.h5 other.h5", "other.h5", "another problem", "the solution has"),
    case("compare out.h5 truncated.h5", "truncated.h5"),
    case("compare out.h5", "SIM.h5", "required"),
    # resuming
    case("resume absent.h5", "absent.h5", "no such file"),
    case("resume .", "is a folder"),
    case("resume /", "is a folder"),
    case("resume corrupted.h5", "corrupted.h5", "table of its state", "damaged"),
    case("resume truncated.h5", "truncated.h5"),
    case("resume newer.h5", "newer.h5", "version 3.0"),
    case("resume status.h5", "status.h5", "'status'"),
    # the command line itself
    case("slove -o new.h5", "'slove'", "solve", "resume", "did you mean 'solve'?"),
    case("solve -o new.h5 --treads 2", "--treads", "see dmft solve --help"),
    case("solve", "-o/--output", "see dmft solve --help"),
    case("sweep plat", "'plat'", "did you mean 'plot'?", "see dmft sweep --help"),
    case("sweep plot all.h5 -o a.png --nope", "--nope", "see dmft sweep plot --help"),
    case("help slove", "did you mean 'solve'?"),
    case("completion fish", "'fish'", "bash", "see dmft completion --help"),
    case("solve -o new.h5 --threads 0", "--threads", "'0'", "at least 1"),
    case("solve -o new.h5 --threads two", "--threads", "'two'", "at least 1"),
    case(f"solve -o new.h5 --threads {'9' * 5000}", "--threads", "99...'", "at most 4096"),
    case(f"sweep run new --retries {'9' * 30}", "--retries", "at most 1000000000"),
    case(f"explore --port {2**16}", "--port", "'65536'", "at most 65535"),
    case("solve -o new.h5 --threads=-1", "--threads", "'-1'", "at least 1"),
    case("solve -o new.h5 --checkpoint-seconds 0", "--checkpoint-seconds", "greater than 0"),
    case("solve -o new.h5 --checkpoint-seconds nan", "--checkpoint-seconds", "greater than 0"),
    case("solve -o new.h5 --fast", "--fast", "unrecognized"),
    case("solve -o new.h5 --over", "--over", "unrecognized"),
    case("solve good.toml good.toml -o new.h5", "good.toml", "unrecognized"),
    case("--fast", "COMMAND", "required"),
]  # fmt: skip


def traces(folder: Path) -> dict[str, bytes]:
    return {
        str(entry.relative_to(folder)): entry.read_bytes() if entry.is_file() else b""
        for entry in folder.rglob("*")
    }


def check_refusal(status: int, stdout: str, stderr: str, words) -> None:
    assert status == 2, stderr
    assert stdout == ""
    # A file that was edited is read, with a warning, up to what is wrong in it.
    lines = [line for line in stderr.splitlines() if "unverified, the checksum was" not in line]
    assert len(lines) == 1 and lines[0].startswith("dmft: error: "), stderr
    assert stderr.endswith("\n") and "Traceback" not in stderr
    for word in words:
        assert word in stderr


@pytest.mark.parametrize(("argv", "words"), CASES)
def test_bad_input(files, capsys, argv, words):
    before = traces(files)
    status = main(argv)
    check_refusal(status, *capsys.readouterr(), words)
    assert traces(files) == before


def test_read_only_folder(files, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = traces(files)
    status = main(["solve", "-o", "new.h5"])
    check_refusal(status, *capsys.readouterr(), ["new.h5", "read-only"])
    assert traces(files) == before


def test_output_that_another_process_writes(files, capsys):
    for command in (["solve", "--overwrite", "-o"], ["simulate", "--overwrite", "-o"], ["resume"]):
        with locked(Path("running.h5")):
            status = main([*command, "running.h5"])
        check_refusal(status, *capsys.readouterr(), ["running.h5", "another process"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("solve -o new.h5 --set problem.sampling_ratio=-1", ["sampling_ratio", "given -1"]),
        ("solve absent.toml -o new.h5", ["absent.toml"]),
        ("info truncated.h5", ["truncated.h5"]),
        ("frobnicate", ["'frobnicate'"]),
    ],
)
def test_bad_input_of_a_process(files, line, words):
    before = traces(files)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "dmft", *line.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    check_refusal(done.returncode, done.stdout, done.stderr, words)
    assert traces(files) == before


def test_files_that_may_not_be_read(files, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "closed/out.h5")

    monkeypatch.setattr("dmft.store.hdf5.verify", refuse)
    assert main(["info", "out.h5"]) == 2
    assert capsys.readouterr().err == "dmft: error: out.h5: cannot be read (Permission denied)\n"
    monkeypatch.setattr("dmft.sweep.status.open_folder", refuse)
    assert main(["sweep", "status", "closed"]) == 2
    assert capsys.readouterr().err == "dmft: error: closed/out.h5: Permission denied\n"
