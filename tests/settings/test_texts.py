"""Texts that take long to parse are refused before."""

import pytest

from dmft.errors import InputError
from dmft.texts import parse_toml


def test_toml_of_too_many_lines_is_refused_also_of_comments():
    assert parse_toml("#\n" * 1000 + "x = 1") == {"x": 1}
    with pytest.raises(InputError, match="holds 400001 lines, allowed: 400000"):
        parse_toml("#\n" * 400_001 + "x = 1")
