"""PCA: its errors are the eigenvalues left out, and reconstructions are projections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.uses import PCA


@examples
@given(st.integers(1, 7), st.integers(2, 12), st.integers(0, 99))
def test_the_error_is_the_sum_of_the_eigenvalues_left_out(dim, n, seed):
    """The eigenvalues are those of the images' covariance, computed by another algorithm than the SVD."""
    x = numbers(n, 1, 4, 2, seed=seed)
    dim = min(dim, n)
    pca = PCA(x, dim)
    values = np.linalg.eigvalsh(np.cov(x.reshape(n, 8).T, bias=True))
    assert -pca.score_samples(x).mean() == pytest.approx(values[: 8 - dim].sum(), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(dim), atol=1e-12)
    z = pca.transform(x)
    assert z.shape == (n, dim)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.T @ z / n, np.diag(values[::-1][:dim]), atol=1e-12)


def test_all_components_lose_nothing_and_fewer_are_the_first_of_more():
    x = numbers(30, 1, 3, 2, dtype=np.float32)
    whole = PCA(x, 6)
    np.testing.assert_allclose(whole.reconstruct(x), x, atol=1e-6)
    np.testing.assert_array_equal(whole.truncated(2).reconstruct(x), PCA(x, 2).reconstruct(x))
    assert PCA(x, 2).reconstruct(x).dtype == np.float32


def test_new_images_are_projected_on_the_plane_of_the_old_ones():
    """Reconstructing a reconstruction changes nothing, and the error is orthogonal to the components."""
    pca, x = PCA(numbers(30, 1, 3, 2), 2), numbers(4, 1, 3, 2, seed=9)
    y = pca.reconstruct(x)
    np.testing.assert_allclose(pca.reconstruct(y), y, atol=1e-12)
    np.testing.assert_allclose((x - y).reshape(4, 6) @ pca.components.T, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PCA(numbers(3, 1, 4, 4), 4), r"\[1, 3\].*got 4"),
        (lambda: PCA(numbers(3, 1, 4, 4), 0), "got 0"),
        (lambda: PCA(numbers(0, 1, 4, 4), 1), r"no length 0, got \(0, 1, 4, 4\)"),
        (lambda: PCA(np.full((3, 1, 2, 2), np.nan), 1), "images.*0"),
        (lambda: PCA(numbers(9, 1, 2, 2), 2).truncated(3), r"\[1, 2\], got 3"),
        (lambda: PCA(numbers(9, 1, 2, 2), 2).transform(numbers(3, 1, 4, 1)), r"\(3, 1, 4, 1\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bytes_are_refused():
    """The differences of unsigned bytes from their mean would wrap around."""
    with pytest.raises(TypeError, match="uint8"):
        PCA(np.zeros((3, 1, 2, 2), np.uint8), 1)


def test_no_images_have_no_scores():
    pca, none = PCA(numbers(9, 1, 2, 2), 2), numbers(0, 1, 2, 2)
    assert pca.score_samples(none).shape == (0,)
    assert pca.reconstruct(none).shape == (0, 1, 2, 2)
