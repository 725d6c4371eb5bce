"""Every operation is checked by finite differences, over shapes that Hypothesis draws.

The element-wise operations are in tables; the others have tests of their own, which draw their arguments. Inputs are
kept away from kinks. The likelihoods are in test_loss_gradients.py.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import apart, broadcastable, examples, filled, host, numbers, shape_and_axes, shapes, sizes

import minivae as mv
import minivae.functional as F
from minivae import ops
from minivae.autograd import Function
from minivae.kernels.contract import Noise
from minivae.ops import batch, likelihood

pytestmark = pytest.mark.usefixtures("differentiated")

UNARY = {
    "exp": (F.exp, numbers),
    "log": (F.log, lambda *s, **k: numbers(*s, low=0.2, high=3, **k)),
    "log1p": (F.log1p, lambda *s, **k: numbers(*s, low=-0.5, high=3, **k)),
    "sqrt": (F.sqrt, lambda *s, **k: numbers(*s, low=0.2, high=3, **k)),
    "abs": (F.abs, apart),
    "neg": (F.neg, numbers),
    "tanh": (F.tanh, numbers),
    "sigmoid": (F.sigmoid, lambda *s, **k: numbers(*s, low=-12, high=12, **k)),
    "softplus": (F.softplus, lambda *s, **k: numbers(*s, low=-12, high=12, **k)),
    "relu": (F.relu, apart),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), apart),
    "gelu": (F.gelu, lambda *s, **k: numbers(*s, low=-4, high=4, **k)),
    "silu": (F.silu, lambda *s, **k: numbers(*s, low=-12, high=12, **k)),
    "clip": (lambda x: F.clip(x, -0.4, 0.6), lambda *s, **k: apart(*s, gap=0.07, **k)),
    "dropout": (lambda x: F.dropout(x, 0.3, noise=Noise(3, 7)), numbers),
}


@pytest.mark.parametrize("name", UNARY)
@given(shape=shapes)
@examples
def test_unary(name, shape):
    operation, values = UNARY[name]
    assert mv.gradcheck(operation, [values(*shape)])


BINARY = {
    "add": (F.add, 0.0),
    "sub": (F.sub, 0.0),
    "mul": (F.mul, 0.0),
    "div": (F.div, 4.0),
    "pow": (lambda a, b: F.pow(a + 3.0, b), 0.0),
    "maximum": (F.maximum, 0.013),
    "minimum": (F.minimum, 0.013),
}


@pytest.mark.parametrize("name", BINARY)
@given(pair=broadcastable())
@examples
def test_binary(name, pair):
    """`offset` keeps divisors away from 0 and the two operands of maximum apart from each other."""
    operation, offset = BINARY[name]
    a, b = apart(*pair[0]), apart(*pair[1], seed=1) + offset
    assert mv.gradcheck(operation, [a, b])


@given(pair=broadcastable(), seed=st.integers(0, 5))
@examples
def test_where(pair, seed):
    condition = np.random.default_rng(seed).random(np.broadcast_shapes(*pair)) < 0.5
    assert mv.gradcheck(lambda a, b: F.where(condition, a, b), [numbers(*pair[0]), numbers(*pair[1], seed=1)])


@given(shape=shapes)
@examples
def test_astype(shape):
    """float64 -> float32 -> float64. The step and the tolerance are large, because float32 is coarse."""
    there_and_back = lambda x: F.astype(F.astype(x, np.float32), np.float64)  # noqa: E731
    assert mv.gradcheck(there_and_back, [numbers(*shape)], eps=1e-2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3.0, -1.5, 0.5])
def test_powers_with_a_number(exponent):
    assert mv.gradcheck(lambda x: x**exponent, [numbers(5, low=0.3)])
    assert mv.gradcheck(lambda x: 2.5**x, [numbers(5)])


def test_the_derivative_of_a_power_at_zero():
    x = mv.Tensor(np.zeros(1), requires_grad=True)
    for exponent, slope in [(0, 0.0), (1, 1.0), (2, 0.0)]:
        x.grad = None
        (x**exponent).backward()
        assert x.grad == slope


REDUCTIONS = {
    "sum": (F.sum, 0),
    "mean": (F.mean, 1),
    "max": (F.max, 1),
    "min": (F.min, 1),
    "logsumexp": (F.logsumexp, 1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(data=st.data(), keepdims=st.booleans())
@examples
def test_reductions(name, data, keepdims):
    operation, least = REDUCTIONS[name]
    shape, axis = data.draw(shape_and_axes(least))
    assert mv.gradcheck(lambda x: operation(x, axis, keepdims), [apart(*shape)])


def test_equal_largest_elements_share_the_gradient():
    x = mv.Tensor(np.array([1.0, 3.0, 3.0, 2.0]), requires_grad=True)
    x.max().backward()
    np.testing.assert_array_equal(host(x.grad), [0, 0.5, 0.5, 0])


@pytest.mark.parametrize("operation", [F.softmax, F.log_softmax])
@given(shape=filled, data=st.data())
@examples
def test_softmax(operation, shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    assert mv.gradcheck(lambda x: operation(x, axis), [numbers(*shape)])


@given(shape=shapes, data=st.data())
@examples
def test_reshape_transpose_flatten(shape, data):
    axes = data.draw(st.permutations(range(len(shape))))
    x = numbers(*shape)
    assert mv.gradcheck(lambda x: x.transpose(axes) if axes else x * 1.0, [x])
    assert mv.gradcheck(lambda x: x.reshape(int(np.prod(shape))), [x])
    if shape:
        assert mv.gradcheck(lambda x: F.flatten(x, data.draw(st.integers(0, len(shape) - 1), label="start") * 0), [x])


INDICES = {
    "integer": 1,
    "negative": -1,
    "slice": slice(0, 2),
    "steps backwards": (slice(None), slice(None, None, -2)),
    "ellipsis": (..., 1),
    "new axis": (None, slice(1, 3), None),
    "array with repetitions": np.array([2, 0, 2, 2]),
    "pairs with repetitions": (np.array([0, 1, 0]), np.array([3, 3, 3])),
    "mixed": (np.array([0, 0]), slice(1, 3)),
    "mask": np.arange(12).reshape(3, 4) % 3 == 0,
    "list": [1, 1],
    "nothing": slice(0, 0),
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name):
    x = numbers(3, 4)
    assert mv.gradcheck(lambda t: t[INDICES[name]], [x])
    np.testing.assert_array_equal(mv.Tensor(x)[INDICES[name]].numpy(), x[INDICES[name]])


@given(shape=filled, data=st.data())
@examples
def test_gather(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    length = data.draw(st.integers(0, 5))
    wanted = (*shape[:axis], length, *shape[axis + 1 :])
    index = np.random.default_rng(0).integers(0, shape[axis], wanted)
    x = numbers(*shape)
    assert mv.gradcheck(lambda x: F.gather(x, index, axis), [x])
    np.testing.assert_array_equal(F.gather(x, index, axis).numpy(), np.take_along_axis(x, index, axis))


@given(shape=filled, data=st.data())
@examples
def test_cat_stack_pad_broadcast(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    other = list(shape)
    other[axis] = data.draw(st.integers(0, 3))
    a, b = numbers(*shape), numbers(*other, seed=1)
    assert mv.gradcheck(lambda a, b: F.cat([a, b, a], axis), [a, b])
    assert mv.gradcheck(lambda a: F.stack([a, a * 2.0], axis), [a])
    widths = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=len(shape)))
    assert mv.gradcheck(lambda a: F.pad(a, widths, 1.5), [a])
    assert mv.gradcheck(lambda a: F.broadcast_to(a, (2, *shape)), [a])


@given(data=st.data(), pair=broadcastable(), m=sizes, k=sizes, n=sizes)
@examples
def test_matmul(data, pair, m, k, n):
    a, b = numbers(*pair[0], m, k), numbers(*pair[1], k, n, seed=1)
    assert mv.gradcheck(F.matmul, [a, b])
    np.testing.assert_allclose(F.matmul(a, b).numpy(), a @ b, rtol=1e-12)


def test_matmul_with_vectors():
    a, b, v, u = numbers(2, 3), numbers(3, 2), numbers(3), numbers(2)
    for x, y in [(a, v), (u, a), (v, v), (numbers(4, 2, 3), v), (u, numbers(4, 2, 3))]:
        assert mv.gradcheck(F.matmul, [x, y])
        assert F.matmul(x, y).shape == (x @ y).shape
    assert (mv.Tensor(a) @ b).shape == (2, 2)


@given(lead=shapes.filter(lambda s: 0 < len(s) < 4), i=sizes, o=sizes, bias=st.booleans())
@examples
def test_linear(lead, i, o, bias):
    b = [numbers(o, seed=2)] if bias else []
    assert mv.gradcheck(lambda x, w, *b: F.linear(x, w, *b), [numbers(*lead, i), numbers(o, i, seed=1), *b])


@given(shape=shapes, rows=sizes, width=sizes)
@examples
def test_embedding(shape, rows, width):
    index = np.random.default_rng(0).integers(0, rows, shape)
    assert mv.gradcheck(lambda table: F.embedding(index, table), [numbers(rows, width)])


conv_steps = st.integers(1, 2) | st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(shape=shapes)
@examples
def test_straight_through(shape):
    """The estimator is not a derivative, as the value does not depend on z, so its definition is checked exactly."""
    z, z_q, dy = (mv.Tensor(numbers(*shape, seed=i), requires_grad=True) for i in range(3))
    y = F.straight_through(z, z_q)
    y.backward(dy.data)
    np.testing.assert_array_equal(y.numpy(), z_q.numpy())
    np.testing.assert_array_equal(host(z.grad), dy.numpy())
    assert z_q.grad is None


@given(m=sizes, k=sizes, d=sizes)
@examples
def test_quantize(m, k, d):
    """The gradient by the codebook, at a point where a small step changes no nearest code."""
    codebook = apart(k, d, gap=1.0)
    z = codebook[np.random.default_rng(0).integers(0, k, m)] + 0.1
    assert mv.gradcheck(lambda c: F.quantize(z, c)[0], [codebook])


@given(
    n=st.integers(0, 2),
    channels=st.tuples(sizes, sizes),
    groups=st.integers(1, 2),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=conv_steps,
    padding=st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=conv_steps,
    bias=st.booleans(),
)
@examples
def test_conv2d(n, channels, groups, size, kernel, stride, padding, dilation, bias):
    c, o = channels
    x, w = numbers(n, c * groups, *size), numbers(o * groups, c, *kernel, seed=1)
    b = [numbers(o * groups, seed=2)] if bias else []
    try:
        F.conv2d(x, w, None, stride, padding, dilation, groups)
    except ValueError as error:
        assume("does not fit" not in str(error))
    assert mv.gradcheck(
        lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups), [x, w, *b], rtol=1e-6
    )


@given(
    n=st.integers(0, 2),
    channels=st.tuples(sizes, sizes),
    groups=st.integers(1, 2),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=conv_steps,
    padding=st.integers(0, 1),
    extra=st.integers(0, 2),
    dilation=conv_steps,
    bias=st.booleans(),
)
@examples
def test_conv_transpose2d(n, channels, groups, size, kernel, stride, padding, extra, dilation, bias):
    c, o = channels
    x, w = numbers(n, c * groups, *size), numbers(c * groups, o, *kernel, seed=1)
    b = [numbers(o * groups, seed=2)] if bias else []

    def operation(x, w, b=None):
        return F.conv_transpose2d(x, w, b, stride, padding, extra, groups, dilation)

    try:
        operation(x, w)
    except ValueError as error:
        assume("must be smaller" not in str(error) and "leave an output" not in str(error))
    assert mv.gradcheck(operation, [x, w, *b], rtol=1e-6)


@given(
    n=st.integers(0, 2),
    c=sizes,
    size=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    kernel=st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.none() | st.integers(1, 3),
    padded=st.booleans(),
)
@examples
def test_max_pool2d(n, c, size, kernel, stride, padded):
    least = kernel if isinstance(kernel, int) else min(kernel)
    assert mv.gradcheck(lambda x: F.max_pool2d(x, kernel, stride, least // 2 * padded), [apart(n, c, *size)])


@given(n=st.integers(0, 2), c=sizes, size=st.tuples(sizes, sizes), scale=st.integers(1, 3) | st.tuples(sizes, sizes))
@examples
def test_upsample(n, c, size, scale):
    assert mv.gradcheck(lambda x: F.upsample(x, scale), [numbers(n, c, *size)])


spatial = st.lists(sizes, max_size=2).map(tuple)


@given(n=st.integers(2, 4), c=sizes, rest=spatial, affine=st.booleans())
@examples
def test_batch_norm_in_training(n, c, rest, affine):
    parameters = [numbers(c, seed=1), numbers(c, seed=2)] if affine else []

    def operation(x, w=None, b=None):
        return F.batch_norm(x, weight=w, bias=b, training=True)

    assert mv.gradcheck(operation, [apart(n, c, *rest, gap=0.2), *parameters], rtol=1e-4)


@given(n=st.integers(0, 3), c=sizes, rest=spatial, affine=st.booleans())
@examples
def test_batch_norm_in_evaluation(n, c, rest, affine):
    mean, var = mv.Tensor(numbers(c, seed=3)), mv.Tensor(numbers(c, seed=4, low=0.5))
    parameters = [numbers(c, seed=1), numbers(c, seed=2)] if affine else []
    assert mv.gradcheck(lambda x, w=None, b=None: F.batch_norm(x, mean, var, w, b), [numbers(n, c, *rest), *parameters])


@given(n=st.integers(0, 3), groups=sizes, per_group=st.integers(2, 3), rest=spatial, affine=st.booleans())
@examples
def test_group_norm(n, groups, per_group, rest, affine):
    c = groups * per_group
    parameters = [numbers(c, seed=1), numbers(c, seed=2)] if affine else []
    x = apart(n, c, *rest, gap=0.2)
    assert mv.gradcheck(lambda x, w=None, b=None: F.group_norm(x, groups, w, b), [x, *parameters], rtol=1e-4)


@given(n=st.integers(0, 4), d=sizes)
@examples
def test_reparameterize(n, d):
    noise = Noise(1, 2)
    assert mv.gradcheck(
        lambda mu, log_var: F.reparameterize(mu, log_var, noise), [numbers(n, d), numbers(n, d, seed=1)]
    )


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose2d"])
def test_layers_with_relu(name):
    """The inputs of the ReLU are half-integers, so none is at the kink."""
    rng = np.random.default_rng(1)
    x_shape, w_shape = ((3, 4), (3, 4)) if name == "linear" else ((2, 3, 4, 4), (3, 3, 3, 3))
    x, w = (rng.integers(-2, 3, shape).astype(np.float64) for shape in (x_shape, w_shape))
    b = rng.integers(-2, 3, 3) + 0.5
    assert mv.gradcheck(lambda *t: getattr(F, name)(*t, relu=True), [x, w, b])


def test_every_function_has_been_differentiated_by_this_file(differentiated):
    """Those of ops/likelihood.py have been by test_loss_gradients.py, those of ops/batch.py by test_batch.py."""
    wanted = {f.__name__ for f in Function.__subclasses__() if f.__module__.startswith(ops.__name__)}
    others = {f.__name__ for f in Function.__subclasses__() if f.__module__ in (likelihood.__name__, batch.__name__)}
    assert wanted - others == differentiated - others, "a Function without a gradient check, or none left to check"
