"""A state that was edited by hand is refused where it is kept, with what is left to do."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from dmft.cli.main import main
from dmft.errors import DmftError
from dmft.store import save
from tests.store.states import change_state, without

OF_SOLVE = ["--set=solver.n_paths=64", "--set=solver.replicates=2", "--set=solver.rtol=1e-2"]
SMALL = {
    "solve": ["--set=solver.t_max=1", *OF_SOLVE, "--quiet"],
    "simulate": ["--set=simulation.dimension=40", "--set=solver.t_max=2", "--quiet"],
}
GROW = {"solve": "--set=solver.t_max=8", "simulate": "--set=simulation.seeds=10"}


def _edited(path, name):
    """As another program leaves a file: one thing gone, and the checksum with it."""
    if name:
        change_state(path, lambda state: without(state, name))
        return
    with h5py.File(path, "r+") as file:
        del file["checkpoint"]


REMEDY = {
    "out.h5.part": "delete it to give up this extension",
    "out.h5": "it cannot be extended",
    "under-way.h5": "start again with --overwrite",
}


@pytest.mark.parametrize("place", REMEDY)
@pytest.mark.parametrize("kind", ["solve", "simulate"])
def test_a_state_edited_by_hand_is_told_with_the_remedy(tmp_path, monkeypatch, capsys, kind, place):
    monkeypatch.chdir(tmp_path)
    assert main([kind, "-o", "out.h5", *SMALL[kind]]) == 0
    if place != "out.h5":

        def full(*_arguments, **_options):
            raise DmftError("out.h5: could not be written (No space left on device)")

        monkeypatch.setattr("dmft.store.save", full)
        assert main(["resume", "out.h5", GROW[kind], "--quiet"]) == 1
        monkeypatch.setattr("dmft.store.save", save)
    if place == "under-way.h5":
        Path("out.h5.part").rename(place)
    whole = "out.h5" if place == "out.h5.part" else place
    parts = ["", "marches/0/control/last_step", "splits"]
    if kind == "simulate" or place != "out.h5":
        sums = "sums" if kind == "simulate" else "replicates"
        parts = ["", f"{sums}/curves/excess_risk", f"{sums}/blocks/weights", f"{sums}/count"]
    good = Path(place).read_bytes()
    for name in parts:
        Path(place).write_bytes(good)
        _edited(place, name)
        before = Path(place).read_bytes()
        capsys.readouterr()
        assert main(["resume", whole, "--quiet", *([GROW[kind]] if place == "out.h5" else [])]) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if "unverified" not in line]
        assert len(told) == 1 and told[0].startswith(f"dmft: error: {place}: "), told
        assert told[0].endswith(f"; {REMEDY[place]}"), told
        assert Path(place).read_bytes() == before
