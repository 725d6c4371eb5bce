"""The values of the operations: extreme inputs, comparisons with SciPy, dtypes, and errors for wrong arguments."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, filled, host, numbers, on_device

import minivae as mv
import minivae.functional as F
from minivae.kernels.contract import Noise

EXTREME = np.array([-1e4, -800.0, -100.0, -30.0, -1e-8, 0.0, 1e-8, 30.0, 100.0, 800.0, 1e4])


@pytest.mark.parametrize(
    ("operation", "oracle"),
    [
        (F.sigmoid, scipy.special.expit),
        (F.softplus, lambda x: np.logaddexp(0, x)),
        (F.silu, lambda x: x * scipy.special.expit(x)),
        (F.gelu, lambda x: x * scipy.stats.norm.cdf(x)),
        (F.tanh, np.tanh),
        (F.log1p, None),
    ],
)
def test_activations_at_extremes(operation, oracle):
    if oracle is None:
        x, oracle = np.array([1e-20, 1e-10, 1.0, 1e300]), np.log1p
    else:
        x = EXTREME
    t = mv.Tensor(x, requires_grad=True)
    y = operation(t)
    np.testing.assert_allclose(y.numpy(), oracle(x), rtol=1e-13, atol=1e-14 if operation is F.gelu else 1e-300)
    y.backward(np.ones_like(x))
    assert np.isfinite(host(t.grad)).all()


def test_sigmoid_keeps_small_probabilities_in_float32():
    x = np.linspace(-80, 80, 1001, dtype=np.float32)
    np.testing.assert_allclose(F.sigmoid(x).numpy(), scipy.special.expit(x.astype(np.float64)), rtol=1e-6)


@given(shape=filled, offset=st.sampled_from([0.0, 1e4, -1e4]), data=st.data())
@examples
def test_soft_maximum_family(shape, offset, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = numbers(*shape) + offset
    np.testing.assert_allclose(F.logsumexp(x, axis).numpy(), scipy.special.logsumexp(x, axis), rtol=1e-13)
    np.testing.assert_allclose(F.softmax(x, axis).numpy(), scipy.special.softmax(x, axis), rtol=1e-10)
    np.testing.assert_allclose(
        F.log_softmax(x, axis).numpy(), scipy.special.log_softmax(x, axis), rtol=1e-9, atol=1e-11
    )


def test_logsumexp_of_minus_infinity():
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1.0]])
    np.testing.assert_array_equal(F.logsumexp(x, 1).numpy(), [-np.inf, 1.0])


class TestLikelihoods:
    def test_bernoulli_is_the_log_probability_of_binary_images(self):
        logits = numbers(5, 1, 3, 2, low=-6, high=6)
        x = (numbers(5, 1, 3, 2, seed=1) > 0).astype(np.float64)
        expected = -scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).reshape(5, -1).sum(1)
        np.testing.assert_allclose(F.bernoulli_nll(logits, x).numpy(), expected, rtol=1e-12)

    def test_bernoulli_probabilities_of_all_images_sum_to_one(self):
        logits = np.tile(numbers(1, 6), (64, 1))
        every = np.array([[i >> j & 1 for j in range(6)] for i in range(64)], float)
        assert np.exp(-F.bernoulli_nll(logits, every).numpy()).sum() == pytest.approx(1, rel=1e-12)

    @pytest.mark.parametrize("shape", [(), (1, 4), (3, 4)])
    def test_gaussian_is_the_log_density(self, shape):
        mean, log_var, x = numbers(3, 4), numbers(*shape, seed=1), numbers(3, 4, seed=2)
        expected = -scipy.stats.norm.logpdf(x, mean, np.exp(log_var / 2)).sum(1)
        np.testing.assert_allclose(F.gaussian_nll(mean, log_var, x).numpy(), expected, rtol=1e-12)

    def test_kl_agrees_with_the_sampler(self):
        """A Monte Carlo estimate with reparameterize(); it differs if either takes log_var for a standard deviation."""
        mu, log_var = np.full((200_000, 1), 0.7), np.full((200_000, 1), -1.3)
        z = F.reparameterize(mu, log_var, Noise(0, 0)).numpy()
        assert z.mean() == pytest.approx(0.7, abs=0.01)
        assert z.std() == pytest.approx(np.exp(-1.3 / 2), rel=0.01)
        ratio = scipy.stats.norm.logpdf(z, 0.7, np.exp(-1.3 / 2)) - scipy.stats.norm.logpdf(z)
        assert ratio.mean() == pytest.approx(F.gaussian_kl(mu[:1], log_var[:1]).item(), rel=0.02)

    def test_cross_entropy_is_minus_the_log_probability_of_the_target(self):
        logits, target = numbers(4, 5, 2, 3), np.random.default_rng(0).integers(0, 5, (4, 2, 3))
        expected = -np.take_along_axis(scipy.special.log_softmax(logits, 1), target[:, None], 1)[:, 0]
        np.testing.assert_allclose(F.cross_entropy(logits, target, "none").numpy(), expected, rtol=1e-12)
        assert F.cross_entropy(logits, target).item() == pytest.approx(expected.mean())

    def test_averaged_cross_entropy_agrees_with_the_likelihood(self):
        logits, x = numbers(4, 6), numbers(4, 6, seed=1, low=0, high=1)
        expected = F.bernoulli_nll(logits, x).numpy().sum() / 24
        assert F.binary_cross_entropy_with_logits(logits, x).item() == pytest.approx(expected)

    def test_likelihoods_of_a_doubled_batch_are_the_same_per_example(self):
        logits, x = numbers(3, 4), numbers(3, 4, seed=1, low=0, high=1)
        twice = F.bernoulli_nll(np.tile(logits, (2, 1)), np.tile(x, (2, 1))).numpy()
        np.testing.assert_array_equal(twice, np.tile(F.bernoulli_nll(logits, x).numpy(), 2))


class TestNoise:
    def test_dropout_scales_what_it_keeps(self):
        x = np.ones((400, 400))
        y = F.dropout(x, 0.25, noise=Noise(0, 0)).numpy()
        assert set(np.unique(y)) == {0.0, 1 / 0.75}
        assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)

    def test_dropout_does_nothing_in_evaluation(self):
        x = mv.Tensor(np.ones(3))
        assert F.dropout(x, 0.5, training=False) is x

    def test_the_generator_moves_on_and_seeding_starts_again(self):
        mu = np.zeros((2, 3))
        mv.manual_seed(5)
        first, second = F.reparameterize(mu, mu).numpy(), F.reparameterize(mu, mu).numpy()
        mv.manual_seed(5)
        np.testing.assert_array_equal(F.reparameterize(mu, mu).numpy(), first)
        assert not np.array_equal(first, second)


class TestRunningStatistics:
    def test_training_moves_them_by_momentum_and_evaluation_does_not(self):
        x = numbers(6, 3, 4, 4)
        mean, var = mv.Tensor(np.zeros(3)), mv.Tensor(np.ones(3))
        F.batch_norm(x, mean, var, training=True, momentum=0.3)
        np.testing.assert_allclose(mean.numpy(), 0.3 * x.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(var.numpy(), 0.7 + 0.3 * x.var((0, 2, 3), ddof=1), rtol=1e-12)
        before = mean.numpy()
        y = F.batch_norm(x, mean, var).numpy()
        np.testing.assert_array_equal(mean.numpy(), before)
        column = (1, 3, 1, 1)
        expected = (x - mean.numpy().reshape(column)) / np.sqrt(var.numpy().reshape(column) + 1e-5)
        np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64])
def test_indices_of_every_integer_dtype(dtype):
    x, index = mv.Tensor(numbers(3, 3), requires_grad=True), np.array([2, 0, 2], dtype)
    columns = np.array([[2], [0], [2]], dtype)
    loss = F.embedding(index, x).sum() + x[index].sum() + F.gather(x, columns, 1).sum() + F.cross_entropy(x, index)
    array = x.numpy()
    nll = scipy.special.logsumexp(array, axis=1) - array[[0, 1, 2], index.astype(int)]
    assert loss.item() == pytest.approx(2 * array[[2, 0, 2]].sum() + array[[0, 1, 2], [2, 0, 2]].sum() + nll.mean())
    loss.backward()
    assert host(x.grad).sum() == pytest.approx(2 * 9 + 3)  # the softmax's gradient sums to 0


OPERATIONS = {
    "arithmetic": lambda x: (x + 1) * 2 / 3 - x**2,
    "activations": lambda x: F.gelu(F.silu(F.softplus(F.leaky_relu(F.sigmoid(F.tanh(x)))))),
    "reductions": lambda x: F.logsumexp(F.softmax(x, 1), 1) + F.mean(x, 1) + x.max(1) + x.sum(1),
    "shapes": lambda x: F.pad(F.cat([x, x], 1), [(1, 1)])[:, ::2],
    "noise": lambda x: F.dropout(F.reparameterize(x, x), 0.5),
    "likelihoods": lambda x: F.bernoulli_nll(x, x) + F.gaussian_nll(x, x, x) + F.gaussian_kl(x, x).sum(1),
    "norms": lambda x: F.group_norm(F.batch_norm(x, training=True), 2),
    "linear": lambda x: F.linear(x, x) @ x,
    "images": lambda x: F.upsample(F.max_pool2d(F.conv2d(x[None, None], x[None, None, :2, :2]), 2), 2),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_dtype_is_kept_forward_and_backward(name, dtype):
    x = mv.Tensor(numbers(4, 4, dtype=dtype), requires_grad=True)
    y = OPERATIONS[name](x)
    assert y.dtype == dtype
    y.backward(np.ones(y.shape, dtype))
    assert x.grad.dtype == dtype


BAD = {
    "matmul": (lambda: F.matmul(np.ones((2, 3)), np.ones((2, 3))), ValueError, r"\(2, 3\) @ \(2, 3\)"),
    "linear": (lambda: F.linear(np.ones((2, 3)), np.ones((4, 5))), ValueError, r"\(2, 3\).*\(4, 5\)"),
    "linear bias": (lambda: F.linear(np.ones((2, 3)), np.ones((4, 3)), np.ones(3)), ValueError, r"\(4,\).*\(3,\)"),
    "linear dtypes": (
        lambda: F.linear(np.ones((2, 3)), np.ones((4, 3), np.float32)),
        TypeError,
        "float64, float32",
    ),
    "linear of integers": (lambda: F.linear(np.ones((2, 3), int), np.ones((4, 3), int)), TypeError, "int64"),
    "conv2d channels": (
        lambda: F.conv2d(np.ones((1, 3, 8, 8)), np.ones((4, 2, 3, 3))),
        ValueError,
        r"\(1, 3, 8, 8\).*\(4, 2, 3, 3\)",
    ),
    "conv2d stride 0": (lambda: F.conv2d(np.ones((1, 1, 8, 8)), np.ones((1, 1, 3, 3)), stride=0), ValueError, "stride"),
    "conv2d stride -1": (
        lambda: F.conv2d(np.ones((1, 1, 8, 8)), np.ones((1, 1, 3, 3)), stride=(1, -1)),
        ValueError,
        "stride",
    ),
    "conv2d stride 1.5": (
        lambda: F.conv2d(np.ones((1, 1, 8, 8)), np.ones((1, 1, 3, 3)), stride=1.5),
        TypeError,
        "stride",
    ),
    "conv2d groups": (
        lambda: F.conv2d(np.ones((1, 4, 8, 8)), np.ones((3, 2, 3, 3)), groups=2),
        ValueError,
        "groups=2",
    ),
    "conv2d kernel too large": (
        lambda: F.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3))),
        ValueError,
        r"\(1, 1, 3, 3\).*\(1, 1, 2, 2\)",
    ),
    "conv2d bias": (
        lambda: F.conv2d(np.ones((1, 1, 8, 8)), np.ones((4, 1, 3, 3)), np.ones(3)),
        ValueError,
        r"\(4,\).*\(3,\)",
    ),
    "conv2d axes": (lambda: F.conv2d(np.ones((1, 8, 8)), np.ones((1, 1, 3, 3))), ValueError, r"\(1, 8, 8\)"),
    "output_padding": (
        lambda: F.conv_transpose2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), stride=2, output_padding=2),
        ValueError,
        r"output_padding=\(2, 2\) must be smaller",
    ),
    "pool": (lambda: F.max_pool2d(np.ones((1, 1, 4, 4)), 5), ValueError, r"\(5, 5\).*\(1, 1, 4, 4\)"),
    "pool padding": (lambda: F.max_pool2d(np.ones((1, 1, 4, 4)), 2, padding=2), ValueError, "half"),
    "group_norm": (lambda: F.group_norm(np.ones((2, 6)), 4), ValueError, "4 groups"),
    "batch_norm single": (lambda: F.batch_norm(np.ones((1, 6)), training=True), ValueError, "more than one value"),
    "batch_norm evaluation": (lambda: F.batch_norm(np.ones((2, 6))), ValueError, "running_mean"),
    "bernoulli_nll": (lambda: F.bernoulli_nll(np.ones((2, 3)), np.ones((2, 4))), ValueError, r"\(2, 3\).*\(2, 4\)"),
    "logistic_mixture_nll": (
        lambda: F.logistic_mixture_nll(np.ones((2, 5, 3)), np.ones((2, 1, 3))),
        ValueError,
        r"output \(2, 5, 3\) must be \(N, 3 K C, ...\) for x \(2, 1, 3\)",
    ),
    "logistic_mixture_nll of other pixels": (
        lambda: F.logistic_mixture_nll(np.ones((2, 6, 4)), np.ones((2, 1, 3))),
        ValueError,
        r"\(2, 6, 4\).*\(2, 1, 3\)",
    ),
    "logistic_mixture_nll by x": (
        lambda: F.logistic_mixture_nll(np.ones((1, 3, 1)), mv.Tensor(np.ones((1, 1, 1)), requires_grad=True)),
        ValueError,
        "x are integers / 255 and have no gradient",
    ),
    "gaussian_nll": (
        lambda: F.gaussian_nll(np.ones((2, 3)), np.ones(2), np.ones((2, 3))),
        ValueError,
        r"\(2,\).*\(2, 3\)",
    ),
    "cross_entropy range": (lambda: F.cross_entropy(np.ones((2, 3)), np.array([0, 3])), ValueError, r"\[0, 3\)"),
    "cross_entropy dtype": (lambda: F.cross_entropy(np.ones((2, 3)), np.ones(2)), TypeError, "integers"),
    "embedding": (lambda: F.embedding(np.array([-1]), np.ones((2, 2))), ValueError, r"\[0, 2\)"),
    "gather": (lambda: F.gather(np.ones((2, 3)), np.array([[5], [0]]), 1), ValueError, r"\[0, 3\)"),
    "reshape": (lambda: F.reshape(np.ones((2, 3)), (4, 2)), ValueError, "reshape"),
    "transpose": (lambda: F.transpose(np.ones((2, 3)), (0, 0)), ValueError, "permutation"),
    "axis": (lambda: F.sum(np.ones((2, 3)), 2), ValueError, "axis 2"),
    "axis twice": (lambda: F.sum(np.ones((2, 3)), (0, -2)), ValueError, "axis"),
    "mean of nothing": (lambda: F.mean(np.ones((0, 3)), 0), ValueError, "no elements"),
    "max of nothing": (lambda: F.max(np.ones((0, 3))), ValueError, "no elements"),
    "cat": (lambda: F.cat([np.ones((2, 3)), np.ones((3, 2))]), ValueError, r"\(2, 3\), \(3, 2\)"),
    "pad": (lambda: F.pad(np.ones((2, 3)), [(-1, 0)]), ValueError, "widths"),
    "dropout": (lambda: F.dropout(np.ones(3), 1.0), ValueError, "1.0"),
    "clip": (lambda: F.clip(np.ones(3), 1, 0), ValueError, "low <= high"),
    "where": (lambda: F.where(np.ones(3), 1.0, 2.0), TypeError, "float64"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d"])
def test_a_layer_with_relu_equals_the_layer_followed_by_relu(name, bias):
    """Values and gradients are exactly equal on integers; where the layer gives 0, both gradients are 0."""
    rng = np.random.default_rng(0)
    x_shape, w_shape = ((5, 4), (3, 4)) if name == "linear" else ((2, 4, 5, 5), (4, 4, 3, 3))
    arrays = [rng.integers(-3, 4, shape).astype(np.float64) for shape in (x_shape, w_shape, w_shape[:1])]
    arrays = arrays if bias else arrays[:2]
    dy = None
    results = []
    for fused in (True, False):
        inputs = [mv.Tensor(a, requires_grad=True) for a in arrays]
        layer = getattr(F, name)
        y = layer(*inputs, relu=True) if fused else F.relu(layer(*inputs))
        dy = on_device(rng.integers(-3, 4, y.shape).astype(np.float64)) if dy is None else dy
        y.backward(dy)
        results.append((y.numpy(), *(host(t.grad) for t in inputs)))
    for fused, plain in zip(*results, strict=True):
        np.testing.assert_array_equal(fused, plain)
    assert 0.2 < (results[0][0] > 0).mean() < 0.8
