"""Three minutes of the soak; `python -m tests.soak FOLDER --seconds 3600` is an hour."""

from __future__ import annotations

import pytest

from tests.soak import soak


@pytest.mark.slow
def test_three_minutes(tmp_path):
    tmp_path.chmod(0o755)
    assert sum(soak(tmp_path, 180.0).values()) >= 5
