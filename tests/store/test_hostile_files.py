"""No file hangs a reader, fills the memory, or ends in a traceback."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from tests.store.hostile import (
    as_of_strangers,
    crafted,
    damaged,
    good_files,
    outcome,
    read_tensors,
)

# Read as they are: nothing in them is wrong.
HARMLESS = {"soft.h5", "dangling.h5", "cycle.h5", "true.npy", "dims.safetensors"}


@pytest.fixture(autouse=True, scope="module")
def imported(tmp_path_factory):
    """What takes long to import, and is not the fault of a file."""
    with suppress(ImportError):
        import torch

        path = tmp_path_factory.mktemp("imported") / "a.pt"
        torch.save({"a": torch.eye(2).to_sparse()}, path)
        read_tensors(path)


def test_crafted_files_are_refused_in_one_line(tmp_path):
    paths = crafted(tmp_path / "crafted")
    found = {path.name: outcome(path) for path in paths}
    wrong = {name: what for name, what in found.items() if what != "refused"}
    assert {name for name, what in wrong.items() if what != "fine"} == set(), wrong
    assert wrong.keys() <= HARMLESS, wrong


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_in_one_line_or_read(
    count, tmp_path, make_solution, make_simulation
):
    goods = good_files(tmp_path, make_solution(), make_simulation())
    assert [outcome(path) for path in goods] == ["fine"] * len(goods)
    rng = np.random.default_rng(count)
    contents = {good: good.read_bytes() for good in goods}
    strangers = {}
    for good in goods:
        if good.suffix == ".out":
            path = good.with_name(f"own-{good.name}")
            strangers[good] = as_of_strangers(good, path)
            assert outcome(path) == "fine"
    refused = 0
    for number in range(count):
        good = goods[number % len(goods)]
        foreign = good in strangers and number % 2
        content = strangers[good] if foreign else contents[good]
        path = tmp_path / f"damaged{good.suffix}"
        path.write_bytes(damaged(content, rng))
        found = outcome(path)
        assert found in ("fine", "refused"), f"{good.name}, number {number}: {found}"
        refused += found == "refused"
        if good.suffix == ".out" and not foreign:
            assert found == "refused" or path.read_bytes() == content, good.name
    assert refused > count / 2
