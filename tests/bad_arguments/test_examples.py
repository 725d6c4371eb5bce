"""What was found by hand, with the words of the answers."""

from __future__ import annotations

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae.autograd import Function
from minivae.models import VAE, VQVAE, Autoencoder, PixelCNN
from minivae.optim import Adam, CosineSchedule, Schedule

from .kinds import OwnArray

X = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
IMAGES = np.full((3, 1, 4, 4), 0.5, np.float32)


class ReturnsFloat(Function):
    def forward(self, x):
        return float(x.sum())


class ReturnsMasked(Function):
    def forward(self, x):
        return np.ma.masked_array(x, x > 0)


class ReturnsHalf(Function):
    def forward(self, x):
        return x.astype(np.float16)


class GradientIsFloat(Function):
    def forward(self, x):
        return x * 2

    def backward(self, dy):
        return 2.0


def parameter():
    return mv.nn.Parameter(X)


def fit(**settings):
    return Autoencoder((1, 4, 4), 2, hidden=()).fit(IMAGES, **settings)


CALLS = {
    "gelu of float16": (lambda: F.gelu(X.astype(np.float16)), TypeError, "float16"),
    "relu of int": (lambda: F.relu(2), TypeError, "relu needs .* float32 or float64, got int64"),
    "matmul of ints": (lambda: F.matmul(np.eye(2, dtype=int), np.eye(2, dtype=int)), TypeError, "matmul .* got int64"),
    "matmul of two dtypes": (lambda: F.matmul(X, X.astype(float)), TypeError, "float32, float64"),
    "eps=None": (lambda: F.group_norm(X, 1, eps=None), TypeError, "eps must be a number in .* got None"),
    "eps=nan": (lambda: F.group_norm(X, 1, eps=np.nan), ValueError, r"eps must be a number in \(0, inf\), got nan"),
    "eps=-1": (lambda: mv.nn.BatchNorm2d(2, eps=-1), ValueError, r"eps .* got -1"),
    "softmax over nothing": (lambda: F.softmax(X, axis=None), TypeError, "axis must be an int, got None"),
    "axis=1.5": (lambda: F.sum(X, axis=1.5), TypeError, "axis .* got 1.5"),
    "losses that broadcast": (lambda: F.mse_loss(X[:, :1], X), ValueError, r"one shape, got \(2, 1\) and \(2, 2\)"),
    "padding=True after padding=1": (
        lambda: [F.conv2d(IMAGES, IMAGES[:1], padding=padding) for padding in (1, True)],
        TypeError,
        "padding .* got True",
    ),
    "schedule with nan": (
        lambda: Schedule(Adam([parameter()]), lambda step: np.nan),
        ValueError,
        "factor at step 0 must be a number in .* got nan",
    ),
    "total_steps=nan": (lambda: CosineSchedule(Adam([parameter()]), np.nan), TypeError, "total_steps .* got nan"),
    "three betas": (lambda: Adam([parameter()], betas=(0.9, 0.99, 0.999)), TypeError, "pair of numbers"),
    "clipping one Tensor": (lambda: mv.optim.clip_grad_norm(parameter(), 1.0), TypeError, "list of Tensors"),
    "epochs=1.5": (lambda: fit(epochs=1.5), TypeError, "epochs must be an int, got 1.5"),
    "progress=5": (lambda: fit(progress=5), TypeError, "progress .* got 5"),
    "masked images": (lambda: VAE((1, 4, 4)).encode(np.ma.masked_array(IMAGES, IMAGES > 1)), TypeError, "mask"),
    "images beyond float32": (
        lambda: Autoencoder((1, 4, 4)).encode(IMAGES * np.float64(1e300)),
        ValueError,
        "inf at index",
    ),
    "latents that are not finite": (lambda: VAE((1, 4, 4), 2).decode([[np.nan, 0.0]]), ValueError, "nan at index"),
    "latent_dim=10**12": (lambda: VAE(latent_dim=10**12), ValueError, "latent_dim must be at most 2147483647"),
    "a huge weight": (lambda: VAE(latent_dim=2**30 - 1), ValueError, "would have .* elements, more than 2147483647"),
    "n=10**9": (lambda: VAE().sample(10**9), ValueError, "784000000000 elements"),
    "a Function that returns a float": (
        lambda: ReturnsFloat.apply(X),
        TypeError,
        "forward must return an array .* got 6.0",
    ),
    "one that returns a masked array": (lambda: ReturnsMasked.apply(X), TypeError, "forward .* got MaskedArray"),
    "one that returns float16": (lambda: ReturnsHalf.apply(X), TypeError, "ReturnsHalf .* got float16"),
    "a gradient that is a float": (
        lambda: GradientIsFloat.apply(parameter()).backward(X),
        TypeError,
        "backward must return an array .* got 2.0",
    ),
    "float32 of 10**400": (lambda: mv.Tensor(X) + 10**400, ValueError, "Add"),
    "uint8 of -1": (lambda: mv.Tensor(np.uint8([1])) * -1, ValueError, "-1 out of bounds for uint8"),
    "gradcheck of one array": (lambda: mv.gradcheck(F.exp, X.astype(float)), TypeError, "inputs must be a list"),
    "weights that are nan": (
        lambda: mv.nn.Linear(2, 1, bias=False).load_state_dict({"weight": X[:1] * np.nan}),
        ValueError,
        "nan at index",
    ),
    "VQVAE codes": (
        lambda: VQVAE((1, 4, 4), codes=3, channels=2).decode(np.full((1, 1, 1), 3)),
        ValueError,
        r"codes must be in \[0, 3\), got 3 to 3",
    ),
    "PixelCNN values": (
        lambda: PixelCNN((1, 1), values=3).score_samples(np.full((1, 1, 1), 3)),
        ValueError,
        r"in \[0, 3\), got 3 to 3",
    ),
    "embedding": (lambda: F.embedding([3], X), ValueError, r"\[0, 2\), got 3 to 3"),
}


@pytest.mark.parametrize("name", CALLS)
def test_is_refused(name):
    call, error, message = CALLS[name]
    with pytest.raises(error, match=message):
        call()


def test_tensors_of_another_library_are_refused():
    torch = pytest.importorskip("torch")
    for call in (mv.Tensor, F.relu, lambda x: mv.Tensor(X) + x, VAE((1, 4, 4)).encode):
        with pytest.raises(TypeError, match="torch.*Tensor"):
            call(torch.ones(3))


def test_a_number_is_an_array_without_axes():
    assert F.relu(2.0).item() == 2.0
    assert F.relu(2.0).dtype == np.float64
    assert F.add(1, 2).item() == 3


def test_sums_and_extremes_of_what_is_not_floating_are_numpys():
    for x in (np.array([True, True, False]), np.array([0, 5, 250], np.uint8), np.array([-128, 3], np.int8)):
        for name in ("sum", "max", "min", "mean"):
            ours, theirs = getattr(F, name)(x), getattr(np, name)(x)
            assert ours.item() == theirs
            assert ours.dtype == theirs.dtype


def test_a_tensor_holds_a_plain_array_of_this_machines_byte_order():
    for form in (X.astype(">f4"), X.view(OwnArray)):
        t = mv.Tensor(form, requires_grad=True)
        assert type(t.data) is np.ndarray
        assert t.data.dtype.isnative
        np.testing.assert_array_equal(t.data, X)
        t.data = form
        t.grad = form
        assert type(t.data) is type(t.grad) is np.ndarray
        assert t.grad.dtype.isnative


def test_a_comparison_is_a_tensor_with_an_array():
    """NumPy makes scalars of arrays without axes."""
    assert isinstance((mv.Tensor(1.0) < 2.0).data, np.ndarray)


def test_numpys_numbers_in_a_model_do_not_make_it_float64():
    model = VAE((1, 4, 4), np.int64(2), hidden=(3,), channels=(2,), beta=np.float64(2), free_bits=np.float64(0.1))
    assert model.loss(IMAGES).loss.dtype == np.float32


def test_a_model_made_with_numpys_numbers_can_be_saved(tmp_path):
    model = VAE(np.array([1, 4, 4]), np.int64(2), hidden=np.array([3]), beta=np.float32(2), arch="dense")
    model.save(tmp_path / "model.npz")
    again = VAE.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.encode(IMAGES), model.encode(IMAGES))
