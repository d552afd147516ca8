import numpy as np
import pytest

from kfc_jax.decompose.truncated_svd import leading_singular, uses_truncated_svd

RANK = 12


def matrix(kind, rows, columns):
    values = np.random.default_rng(0).standard_normal((rows, columns))
    if kind == "decaying":
        values *= 0.98 ** np.arange(columns)
    elif kind == "low rank":
        values = values[:, :5] @ values[:5]
    elif kind == "equal":
        values = np.eye(rows, columns)
    elif kind == "zero":
        values *= 0
    return values


@pytest.mark.parametrize("kind", ["flat", "decaying", "low rank", "equal", "zero"])
@pytest.mark.parametrize(("rows", "columns"), [(400, 450), (450, 400), (90, 80)])
def test_leading_part_is_as_near_as_that_of_the_full_decomposition(kind, rows, columns):
    assert uses_truncated_svd((rows, columns), RANK) == (rows > 90)
    wide = matrix(kind, rows, columns)
    u, s, vh = leading_singular(wide, RANK)
    expected = np.linalg.svd(wide, compute_uv=False)
    norm = np.linalg.norm(wide) or 1
    error = np.linalg.norm(wide - (u * s) @ vh) / norm
    least = np.sqrt((expected[RANK:] ** 2).sum()) / norm
    assert error == pytest.approx(least, rel=1e-6, abs=1e-7)
    np.testing.assert_allclose(s, expected[:RANK], rtol=1e-4, atol=1e-6 * norm)
    assert (np.diff(s) <= 0).all()
    np.testing.assert_allclose(u.T @ u, np.eye(RANK), atol=1e-10)
    np.testing.assert_allclose(vh @ vh.T, np.eye(RANK), atol=1e-10)
