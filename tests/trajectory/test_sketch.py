"""Random projections: unbiased, within their error, independent of the cut, and incremental."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import algebra, engine, hashes, projections, sketch
from dmft.trajectory.files import load_report, save_report
from dmft.trajectory.report import report_of
from tests.trajectory.conftest import as_safetensors, flat


def test_few_parameters_are_exact(model, write):
    walk = model(7)
    folder = write(walk)
    exact = algebra.from_vectors(flat(walk))
    path = trajectory.of_checkpoints(folder, sketch=True).trajectory()
    assert np.abs(path.gram - exact).max() < 1e-13 * np.abs(exact).max()
    for name, (value, _) in trajectory.of_checkpoints(folder).trajectory().scalars.items():
        assert path.scalars[name][0] == pytest.approx(value, rel=1e-10), name


def test_products_are_kept_on_average_within_the_stated_variance():
    rng = np.random.default_rng(1)
    width, size = 64, 40 * 64
    vectors = rng.standard_normal((2, size)) + 0.3
    exact = vectors @ vectors.T
    products = []
    for trial in range(400):
        out = np.zeros((2, width))
        target = sketch.Target("", (("a", 0, size + width * 1000),), width)
        sketch.fold(vectors, width * 50 * trial, target, out)  # other signs each time
        products.append(out @ out.T)
    products = np.array(products)
    mean, error = products.mean(axis=0), products.std(axis=0) / 20.0
    assert (np.abs(mean - exact) < 4.0 * error).all()
    squares = np.diag(exact)
    bound = (np.outer(squares, squares) + exact**2) / width
    assert (products.var(axis=0) < 1.3 * bound).all()
    assert (products.var(axis=0) > 0.7 * bound).all()


def test_any_cut_gives_the_same():
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((3, 1000))
    target = sketch.Target("", (("a", 0, 5000),), 128)
    whole, parts = np.zeros((3, 128)), np.zeros((3, 128))
    sketch.fold(vectors, 77, target, whole)
    for start in range(0, 1000, 37):
        sketch.fold(vectors[:, start : start + 37], 77 + start, target, parts)
    assert np.abs(whole - parts).max() < 1e-12


@pytest.mark.parametrize(
    "position, length, width", [(0, 1, 256), (77, 5000, 256), (8000, 700, 8192)]
)
def test_compiled_folds_give_the_same_bits(position, length, width):
    basis = np.random.default_rng(3).standard_normal((3, length))
    target = sketch.Target("", (("a", 0, 10**6),), width)
    plain, compiled = np.zeros((2, 3, width))
    sketch.fold(basis, position, target, plain)
    sketch.fold(basis, position, target, compiled, compiled=True)
    assert np.array_equal(plain, compiled) and plain.any()


def test_signs_and_places_are_those_of_independent_bits():
    """Correlations of neighbours, of the two sequences and of two widths, in standard errors."""
    signs = [
        hashes.signs(5, 2**18, hashes.start_of(seed)).astype(float) for seed in (512, 513, 514)
    ]
    assert all(set(np.unique(sign)) == {-1.0, 1.0} for sign in signs)
    root = 2.0**9
    assert max(abs(sign.sum()) / root for sign in signs) < 4.0
    for a in range(3):
        for b in range(3):
            for lag in (1, 2, 63, 64, 65, 4096):
                products = signs[a][lag:] * signs[b][:-lag]
                assert abs(products.sum()) / root < 4.5, (a, b, lag)
    assert np.array_equal(hashes.signs(70, 100, hashes.start_of(512)), signs[0][65:165])
    places = hashes.hashed(np.arange(2**14), hashes.start_of(1)) % np.uint64(256)
    counts = np.bincount(places.astype(int), minlength=256)
    chi_squared = ((counts - 64.0) ** 2 / 64.0).sum()
    assert abs(chi_squared - 255.0) < 4.0 * np.sqrt(2.0 * 255.0)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint16", "mixed"])
def test_compiled_projections_of_any_type(model, tmp_path, monkeypatch, dtype):
    """35 checkpoints fall into two windows; uint16 stands for bfloat16."""
    monkeypatch.setattr(projections, "WIDTH", 256)
    monkeypatch.setattr(sketch, "_READ", 300)
    for t, arrays in enumerate(model(35)):
        stored = {
            name: np.ascontiguousarray(values.astype(np.float32)).view(np.uint16)[..., 1::2]
            if dtype == "uint16" and values.ndim
            else values.astype(
                {"uint16": "float32", "mixed": f"float{16 << t % 3}"}.get(dtype, dtype)
            )
            for name, values in arrays.items()
        }
        as_safetensors(tmp_path / f"{t}.safetensors", stored)
    plain = trajectory.of_checkpoints(tmp_path, sketch=True, by="layer")
    monkeypatch.setattr(sketch, "_COMPILED", 0)
    found = trajectory.of_checkpoints(tmp_path, sketch=True, by="layer")
    for one, other in zip(plain.factors, found.factors, strict=True):
        assert np.array_equal(one, other) and one.any()


@pytest.mark.parametrize("threshold", [0, 2**40])
def test_what_is_not_finite_is_named(model, write, monkeypatch, threshold):
    monkeypatch.setattr(sketch, "_COMPILED", threshold)
    walk = model()
    walk[2] = {name: values.copy() for name, values in walk[2].items()}
    walk[2]["layers.0.mlp.bias"][7] = np.inf
    with pytest.raises(InputError, match=r"step-20.npz: tensor 'layers.0.mlp.bias' holds NaN"):
        trajectory.of_checkpoints(write(walk, dtype=np.float16), sketch=True)


def test_error_bars_cover_the_exact_values(tmp_path, monkeypatch):
    monkeypatch.setattr(projections, "WIDTH", 512)
    monkeypatch.setattr(sketch, "_SUBBLOCK", 700)
    z = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        theta = rng.standard_normal(20_000) + np.cumsum(0.3 * rng.standard_normal((12, 20_000)), 0)
        np.save(tmp_path / f"{seed}.npy", theta)
        exact = trajectory.of_arrays(theta)
        found = trajectory.of_checkpoints(tmp_path / f"{seed}.npy", sketch=True).trajectory()
        for name in ("mean_directional_similarity", "length", "straightness"):
            value, error = found.scalars[name]
            z.append((value - exact.scalars[name][0]) / error)
    assert np.sqrt(np.mean(np.square(z))) < 2.0
    assert np.abs(z).max() < 5.0


def test_groups_and_files(model, write, tmp_path):
    walk = model()
    grams = trajectory.of_checkpoints(write(walk), sketch=True, by="layer")
    for name, path in grams.groups("layer").items():
        names = [n for n in walk[0] if n.startswith(name)]
        exact = algebra.from_vectors(flat(walk, names))
        assert np.abs(path.gram - exact).max() < 1e-12 * np.abs(exact).max()
    with pytest.raises(InputError, match="kept by layer"):
        grams.groups("tensor")
    report = report_of(grams, "x", "layer")
    save_report(tmp_path / "x.h5", report)
    again = load_report(tmp_path / "x.h5")
    assert np.array_equal(again.path.gram, report.path.gram)
    assert again.path.scalars == report.path.scalars


def test_a_growing_folder_costs_its_new_checkpoints(model, write, tmp_path):
    walk = model(12)
    cache = tmp_path / "cache.h5"
    write(walk[:10])
    first = trajectory.of_checkpoints(tmp_path / "run", sketch=True, cache=cache)
    folder = write(walk)
    again = trajectory.of_checkpoints(folder, sketch=True, cache=cache)
    fresh = trajectory.of_checkpoints(folder, sketch=True)
    assert np.array_equal(again.trajectory().gram, fresh.trajectory().gram)
    # np.savez writes all files anew; their times of change tell them apart
    assert 0 < first.computed <= again.computed
    for i, arrays in enumerate(model(2, seed=5)):
        np.savez(folder / f"step-{1000 + i}.npz", **arrays)
    more = trajectory.of_checkpoints(folder, sketch=True, cache=cache)
    assert more.computed == 2 * first.computed // 10


def test_many_checkpoints_are_projected_by_default(tmp_path):
    theta = np.cumsum(np.random.default_rng(0).standard_normal((1100, 30)), axis=0)
    np.save(tmp_path / "many.npy", theta)
    grams = trajectory.of_checkpoints(tmp_path / "many.npy")
    assert isinstance(grams, trajectory.Projections)
    exact = trajectory.of_arrays(theta).similarity()
    assert grams.trajectory().similarity() == pytest.approx(exact, rel=1e-10)


def test_too_many_groups_for_the_memory(model, write):
    with pytest.raises(InputError, match=r"memory: given .* projections of 6 checkpoints"):
        trajectory.of_checkpoints(write(model()), sketch=True, by="tensor", memory=100_000)


@pytest.mark.parametrize("exact", [False, True])
def test_one_more_checkpoint_than_500_is_a_hundredth_of_the_work(tmp_path, monkeypatch, exact):
    """Numbers read for projections; numbers multiplied for exact matrices, which need them all."""
    work = []
    fold, grams = sketch.fold, engine._Scratch.grams

    def folded(basis, *rest):
        work.append(basis.size)
        fold(basis, *rest)

    def multiplied(scratch, series, unit, fresh, files):
        shares = zip(unit.shares, fresh, strict=True)
        work.append(sum(len(rows) * share.width for share, rows in shares))
        return grams(scratch, series, unit, fresh, files)

    monkeypatch.setattr(sketch, "fold", folded)
    monkeypatch.setattr(engine._Scratch, "grams", multiplied)
    theta = np.cumsum(np.random.default_rng(0).standard_normal((501, 40)), axis=0)
    files = [tmp_path / f"step{t}.npz" for t in range(501)]
    for file, values in zip(files, theta, strict=True):
        np.savez(file, a=values.astype(np.float32))
    options = {"sketch": not exact, "cache": tmp_path / "cache.h5"}
    first = trajectory.of_checkpoints(files[:-1], **options)
    whole = sum(work)
    work.clear()
    more = trajectory.of_checkpoints(files, **options)
    assert whole == 500 * 40 and 0 < sum(work) <= whole / 100
    if not exact:
        assert more.computed <= first.computed / 100
    exactly = algebra.from_vectors(theta.astype(np.float32))
    assert np.abs(more.trajectory().gram - exactly).max() < 1e-12 * np.abs(exactly).max()
