"""The examples of the README run as they stand, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for example in examples:
        exec(compile(example, str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "excess risk" in printed
    error, stderr, own = (float(word) for word in printed.splitlines()[-1].split())
    assert 0.0 < error < 0.5
    assert 0.0 < stderr < 0.1
    assert own != 0.0
    assert (tmp_path / "solution.h5").exists()


def test_every_page_is_linked():
    text = README.read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", text))
    assert linked == {f"docs/{page.name}" for page in (README.parent / "docs").glob("*.md")}
