"""Charges, orbits and the symmetry test itself, in every representation of A."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, sparse

from dmft.errors import InputError
from dmft.symmetry import ExponentialSymmetry, Symmetries
from dmft.symmetry.commuting import joint_basis

P = 7


def representations():
    """The same A given in four ways, and some that only one way can give."""
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((P, 2))
    core = np.array([[1.0, 0.4], [0.4, -2.0]])
    low = factor @ core @ factor.T
    diagonal = np.array([1.0, -1.0, 0.0, 0.5, 0.0, 0.0, -2.0])
    blocks = linalg.block_diag(core, 0.0, 3.0, np.zeros((1, 1)), core)
    return {
        "dense": (ExponentialSymmetry.of(low), low),
        "low rank": (ExponentialSymmetry.low_rank(factor, core), low),
        "diagonal": (ExponentialSymmetry.diagonal(diagonal), np.diag(diagonal)),
        "sparse diagonal": (
            ExponentialSymmetry.of(sparse.diags_array(diagonal)), np.diag(diagonal),
        ),
        "sparse blocks": (ExponentialSymmetry.of(sparse.csr_array(blocks)), blocks),
        "low rank, diagonal core": (
            ExponentialSymmetry.low_rank(factor, [1.0, -3.0]),
            factor @ np.diag([1.0, -3.0]) @ factor.T,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", representations())
def test_all_representations_are_the_matrix(kind):
    symmetry, matrix = representations()[kind]
    theta = np.random.default_rng(2).standard_normal((3, P))
    np.testing.assert_allclose(symmetry.apply(theta), theta @ matrix, atol=1e-12)
    np.testing.assert_allclose(
        symmetry.charge(theta), np.einsum("ai,ij,aj->a", theta, matrix, theta), atol=1e-12
    )
    np.testing.assert_allclose(symmetry.orbit(theta, 0.3), theta @ linalg.expm(0.3 * matrix))
    whole = symmetry.matrix()
    np.testing.assert_allclose(
        whole.toarray() if sparse.issparse(whole) else whole, matrix, atol=1e-12
    )
    assert symmetry.values.sum() == pytest.approx(np.trace(matrix))
    assert len(symmetry.values) == np.linalg.matrix_rank(matrix)


def test_many_at_once_agree_with_one_by_one():
    members = [symmetry for symmetry, _ in representations().values()]
    left, right = np.random.default_rng(3).standard_normal((2, 4, 5, P))
    together = Symmetries(members).bilinear(left, right)
    assert together.shape == (4, 5, len(members))
    for k, (_, matrix) in enumerate(representations().values()):
        np.testing.assert_allclose(
            together[..., k], np.einsum("abi,ij,abj->ab", left, matrix, right), atol=1e-12
        )
    axes = Symmetries([members[2], members[3]])
    np.testing.assert_allclose(axes.charges(left), together_with(members, left), atol=1e-12)


def together_with(members, theta):
    return np.stack([members[2].charge(theta), members[3].charge(theta)], axis=-1)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_joint_basis_diagonalises_all_of_them(as_sparse):
    """Degenerate eigenvalues of each, but not of all together."""
    rotation = np.linalg.qr(np.random.default_rng(4).standard_normal((4, 4)))[0]
    spectra = np.array([[1.0, 1, -1, 0], [2, 3, 3, 0], [1, 1, 1, 1]])
    matrices = [rotation @ np.diag(spectrum) @ rotation.T for spectrum in spectra]
    if as_sparse:
        matrices = [sparse.csr_array(linalg.block_diag(m, np.zeros((2, 2)))) for m in matrices]
    members = [ExponentialSymmetry.of(matrix) for matrix in matrices]
    values, directions = joint_basis(members)
    basis = directions.toarray() if as_sparse else directions
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis.T)), atol=1e-12)
    for k, matrix in enumerate(matrices):
        matrix = matrix.toarray() if as_sparse else matrix
        np.testing.assert_allclose((basis * values[:, k]) @ basis.T, matrix, atol=1e-10)


def test_validation_names_the_worst_sample():
    symmetry = ExponentialSymmetry.diagonal([1.0, -1.0], "rescaling")
    theta = np.array([2.0, 0.5])
    force = np.array([1.0, -3.0, 1e-9, 2.0])
    rows = force[:, None] * theta[::-1]
    assert symmetry.validate(theta, rows) < 1e-15
    assert symmetry.validate(theta, lambda at: force[:, None] * at[::-1]) < 1e-15
    assert symmetry.validate(theta, rows.astype(np.float32)) < 1e-6
    rows[2] += [0.0, 1e-3]  # small, but large for this sample
    rows[1] += [0.0, 1e-4]
    with pytest.raises(InputError, match=r"rescaling: .*sample 2 is the worst.*\(2 of 4 samples"):
        symmetry.validate(theta, rows)
    assert symmetry.validate(theta, rows, tolerance=1.0) > 0.1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialSymmetry.of([[0, 1], [2, 0]]), r"A\[0, 1\] and A\[1, 0\] differ by 1"),
        (
            lambda: ExponentialSymmetry.of(sparse.csr_array([[0, 1.0], [0, 0]])),
            r"not symmetric: A\[0, 1\] and A\[1, 0\] differ",
        ),
        (lambda: ExponentialSymmetry.of(np.ones((2, 3))), r"given shape \(2, 3\), must be square"),
        (lambda: ExponentialSymmetry.of([[np.nan]]), "NaN"),
        (lambda: ExponentialSymmetry.of("matrix"), "no array of numbers"),
        (lambda: ExponentialSymmetry.of(np.zeros((2, 2))), "is zero"),
        (lambda: ExponentialSymmetry.diagonal(np.zeros(3)), "is zero"),
        (lambda: ExponentialSymmetry.diagonal(np.eye(3)), r"must be the diagonal"),
        (lambda: ExponentialSymmetry.low_rank(np.ones((4, 2)), np.eye(3)), r"\(P, r\) and \(r, r"),
        (lambda: ExponentialSymmetry.low_rank(np.ones((4, 2)), [[0, 1], [0, 0]]), "not symmetric"),
        (
            lambda: Symmetries([ExponentialSymmetry.diagonal(np.ones(n)) for n in (2, 3)]),
            r"of \[2, 3\] parameters",
        ),
        (
            lambda: joint_basis([
                ExponentialSymmetry.of([[0, 1], [1, 0]], "swap"),
                ExponentialSymmetry.diagonal([1, -1], "squeeze"),
            ]),
            "'swap' and 'squeeze' do not commute",
        ),
        (
            lambda: ExponentialSymmetry.diagonal([1.0, -1]).validate(np.ones(3), np.ones((2, 3))),
            r"given parameters of shape \(3,\), must be \(2,\)",
        ),
        (
            lambda: ExponentialSymmetry.diagonal([1.0, -1]).validate(np.ones(2), np.ones((2, 3))),
            r"gradients: given shape \(2, 3\), must be \(samples, 2\)",
        ),
        (
            lambda: ExponentialSymmetry.diagonal([1.0, -1]).validate(np.ones(2), np.ones(2)),
            r"gradients: given shape \(2,\), must be \(samples, 2\)",
        ),
        (
            lambda: ExponentialSymmetry.diagonal([1.0, -1]).validate(
                np.ones(2), [[1, 2], [np.inf, 1]]
            ),
            "gradients: sample 1 has NaN or infinity",
        ),
    ],
)  # fmt: skip
def test_mistakes(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
