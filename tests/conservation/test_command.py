"""The command: what it prints, what its JSON holds, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dmft.cli.main import main
from dmft.conservation.architectures import KINDS
from dmft.conservation.architectures.base import MAX_PARAMETERS
from dmft.conservation.table import SECTIONS, Row, as_markdown


def run(capsys, line):
    status = main(["conservation", *line.split()])
    output = capsys.readouterr()
    return status, output.out, output.err


def run_json(capsys, line):
    status, out, err = run(capsys, f"{line} --json")
    assert err == ""
    return status, json.loads(out)


def test_json_of_a_count(capsys):
    status, table = run_json(capsys, "count linear --widths 2,5,2")
    assert status == 0
    assert table["architecture"]["widths"] == [2, 5, 2]
    assert table["parameters"] == 20
    assert table["trace_dimensions"] == [4, 6]
    assert table["laws"] == table["explained"] == 14
    certificate = table["certificate"]
    assert certificate["exact"] and certificate["closed"] and certificate["assumed"] == []
    assert certificate["ranks"] == [6, 6] and len(set(certificate["primes"])) == 2
    assert len(certificate["proved"]) == 2 and certificate["longer_brackets_tried"] >= 16
    (family,) = table["families"]
    assert (family["entries"], family["independent"], family["conserved"]) == (15, 14, True)


@pytest.mark.parametrize(
    "line, laws",
    [
        ("relu --widths 3,4,2 --bias", 4),
        ("relu --widths 3,4,2 --no-bias", 4),
        ("attention --heads 2 --position rotary", 8),
        ("moe --gate sigmoid --expert relu", 9),
        ("diagonal --dimension-of-inputs 2 --depth 3", 4),
        ("polynomial --phi u*v,v*w", 1),
        ("swiglu --widths 3,2,2 --points 1 --seed 7", 2),
    ],
)
def test_counts_on_the_command_line(capsys, line, laws):
    status, out, err = run(capsys, f"count {line}")
    assert (status, err) == (0, "")
    assert out.startswith(f"{laws} independent conservation laws")


def test_seed_and_points_are_recorded(capsys):
    _, table = run_json(capsys, "count relu --widths 2,2,2 --points 3 --seed 5")
    assert table["certificate"]["seeds"] == [5, 6, 7]
    assert len(set(table["certificate"]["primes"])) == 3


def test_a_count_that_is_not_closed_exits_with_3(capsys):
    status, out, _ = run(capsys, "count linear --widths 1,2,2,2 --max-level 2")
    assert status == 3 and "NOT CLOSED" in out and "upper bound" in out


def test_float_count(capsys):
    status, table = run_json(capsys, "count linear --widths 2,5,2 --float")
    assert status == 0 and table["laws"] == 14 and not table["certificate"]["exact"]
    assert table["certificate"]["clear"] and len(table["certificate"]["gaps"]) == 2


def test_file(capsys, tmp_path):
    path = tmp_path / "net.toml"
    path.write_text('kind = "moe"\nexperts = 2\ngate = "linear"\nwidths = [2, 2, 2]\n')
    status, table = run_json(capsys, f"count file {path}")
    assert status == 0 and table["architecture"]["gate"] == "linear"
    assert table["laws"] == 2 + 4


def test_laws(capsys):
    _, out, _ = run(capsys, "laws linear --widths 2,3,2 --bias")
    assert out == "balance W1-W2: W1 W1^T + b1 b1^T - W2^T W2\n"
    _, out, _ = run(capsys, "laws linear --widths 2,3,2 --latex")
    assert "W_{1} W_{1}^\\top - W_{2}^\\top W_{2}" in out and "align*" in out
    _, table = run_json(capsys, "laws relu --widths 2,3,2")
    assert set(table["families"][0]) == {"name", "formula", "latex"}
    _, out, _ = run(capsys, "laws gelu --widths 2,3,2")
    assert "no laws in closed form" in out


def test_polynomial(capsys):
    status, table = run_json(capsys, "polynomial linear --widths 2,2,2 --degree 2")
    assert status == 0 and table["laws"] == table["independent"] == 3
    assert table["quantities"] == 44 and len(table["formulas"]) == 3
    _, table = run_json(capsys, "polynomial linear --widths 4,4,4 --dictionary")
    assert table["independent"] == 10


def test_verify(capsys):
    status, table = run_json(capsys, "verify relu --widths 2,3,2 --steps 10 --seed 3")
    assert status == 0 and table["passed"]
    assert all(law["drift"] < 1e-12 and law["conserved_exactly"] for law in table["laws"])
    assert table["control"]["drift"] > 1e-3 and not table["control"]["conserved_exactly"]


MISTAKES = [
    ("count linear --widths 2,0,2", "widths.1", "given '0'", "at least 1"),
    ("count linear --widths 2", "widths", "2 or more values"),
    ("count linear --widths two,2", "widths.0", "'two'", "integer"),
    ("count linear", "widths", "required"),
    ("count linear --width 2,2", "--width", "unrecognized"),
    ("count linear --widths 2,2 --loss hinge", "loss", "'hinge'", "cross-entropy"),
    ("count linear --widths 3,1 --loss cross-entropy", "widths", "at least 2"),
    ("count relu --widths 100,100", str(MAX_PARAMETERS), "10000"),
    ("count relu --widths 9000,2", "widths.0", f"at most {MAX_PARAMETERS}"),
    ("count power --widths 2,2,2 --exponent 0", "exponent", "at least 1"),
    ("count attention --position rotary --head-dim 3", "head_dim", "given 3", "even"),
    ("count attention --position rotary --frequencies 1,2", "frequencies", "given 2", "= 1"),
    ("count attention --frequencies 1", "frequencies", "needs rotary"),
    ("count attention --heads 3 --kv-heads 2", "kv_heads", "given 2", "divide heads 3"),
    ("count attention --sink --score linear", "sink", "softmax"),
    ("count attention --position spiral", "position", "'spiral'", "rotary"),
    ("count moe --top-k 4 --experts 3", "top_k", "given 4", "experts, 3"),
    ("count moe --top-k 0", "top_k", "at least 1"),
    ("count convolution --channels 2,2 --kernel 2", "kernel", "given 2", "odd"),
    ("count convolution --channels 2,3,4 --residual", "channels", "[2, 3, 4]"),
    ("count convolution --channels 2,3,2 --pool 3", "pool", "given 3", "divide size 4"),
    ("count norm --widths 2,1,2", "widths.1", "at least 2"),
    ("count attention --eps", "eps", "qk_norm"),
    ("count transformer --experts 2", "experts", "needs a gated one"),
    ("count llama --experts 2 --top-k 3", "top_k", "given 3", "experts, 2"),
    ("model nothing.json", "nothing.json", "cannot be read"),
    ("count gpt2 --heads 3", "heads", "given 3", "divide width 4"),
    ("count llama --width 6 --heads 2", "head_dim", "even"),
    ("count polynomial --phi u*", "phi", "'u*'", "polynomial"),
    ("count polynomial --phi exp(u)", "phi", "'exp(u)'"),
    ("count polynomial --phi u**v", "phi", "'u**v'"),
    ("count polynomial --phi 3", "phi", "parameter"),
    ("count polynomial --phi __import__('os')", "phi", "polynomial"),
    ("count swiglu --widths 2,2", "widths", "required"),
    ("count frobnicate", "'frobnicate'", "linear"),
    ("count file absent.toml", "absent.toml", "no such file"),
    ("count linear --widths 2,2 --points 0", "--points", "at least 1"),
    ("count linear --widths 2,2 --points 90000000000000000000", "--points", "at most 100"),
    ("count linear --widths 2,2 --seed -1", "--seed"),
    ("count", "KIND", "required"),
    ("", "ACTION", "required"),
    ("guess linear", "'guess'", "count"),
    ("polynomial linear --widths 2,2 --degree 0", "--degree", "'0'", "at least 1"),
    ("polynomial linear --widths 9,9,9 --degree 3", "degree", "8000", "dictionary"),
    ("verify linear --widths 2,2 --steps 0", "--steps", "at least 1"),
    ("table -o no/such/folder.md", "folder.md", "does not exist"),
]


@pytest.mark.parametrize("line, words", [(m[0], m[1:]) for m in MISTAKES], ids=lambda v: str(v))
def test_mistakes_are_answered_by_one_line(capsys, line, words):
    status, out, err = run(capsys, line)
    assert status == 2 and out == ""
    assert err.startswith("dmft: error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    "text, words",
    [
        ("widths = [2, 2]\n", ["kind", "required"]),
        ('kind = "lineer"\nwidths = [2, 2]\n', ["kind", "lineer", "linear"]),
        ('kind = "linear"\nwidth = [2, 2]\n', ["width", "did you mean 'widths'"]),
        ('kind = "relu"\nwidths = [2, 2]\nactivation = "gelu"\n', ["activation", "'gelu'", "relu"]),
        ('kind = "linear"\nwidths = [2, 2.5]\n', ["widths.1", "2.5", "integer"]),
        ("kind = [\n", ["not valid TOML"]),
        ("kind = 3\n", ["kind", "given 3"]),
    ],
)
def test_mistakes_in_files(capsys, tmp_path, text, words):
    path = tmp_path / "net.toml"
    path.write_text(text)
    status, out, err = run(capsys, f"count file {path}")
    assert status == 2 and out == "" and err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("action", ["count", "laws", "polynomial", "verify"])
def test_help_names_every_kind_and_setting(capsys, action):
    with pytest.raises(SystemExit, match="0"):
        main(["conservation", action, "--help"])
    out = capsys.readouterr().out
    assert all(kind in out for kind in KINDS)
    for kind, (model, implied) in KINDS.items():
        with pytest.raises(SystemExit, match="0"):
            main(["conservation", action, kind, "--help"])
        out = capsys.readouterr().out
        for name in model.model_fields:
            if name != "kind" and name not in implied:
                assert "--" + name.replace("_", "-") in out


def test_nothing_is_compiled_for_the_help_or_a_mistake():
    program = (
        "import sys\n"
        "from dmft.cli.main import main\n"
        "assert main(['conservation', 'count', 'linear', '--widths', '0']) == 2\n"
        "try: main(['conservation', 'count', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'scipy', 'h5py'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True)


def test_table_is_markdown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "dmft.conservation.table.SECTIONS", {"Linear": SECTIONS["Linear networks"][:2]}
    )
    path = tmp_path / "table.md"
    status, out, _ = run(capsys, f"table -o {path}")
    assert status == 0 and "2 architectures" in out
    lines = path.read_text().splitlines()
    assert "| `linear --widths 2,4,2` | 16 | 4, 6 | 10 | 10 | exact |" in "\n".join(lines)
    assert run(capsys, f"table -o {path}")[0] == 2  # not overwritten
    assert run(capsys, f"table -o {path} --overwrite")[0] == 0
    assert Row is not None and as_markdown([]).startswith("# Counts")


@pytest.mark.slow
def test_documented_table_is_that_of_the_program():
    """All columns but the levels of transformers, which depend on the data that were found."""
    from dmft.conservation.table import count_all

    written = (Path(__file__).parents[2] / "docs" / "conservation-table.md").read_text()

    def counts(text):
        return [
            [cell.strip() for i, cell in enumerate(line.split("|")) if i != 3]
            for line in text.splitlines()
            if line.startswith("| `")
        ]

    assert counts(as_markdown(count_all())) == counts(written)
