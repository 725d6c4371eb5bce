"""What users of NumPy and PyTorch expect of a Tensor: names, printing, iteration, leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, host, numbers, on_device

import minivae as mv

F = mv.functional
X = numbers(2, 3, 4)


def leaf(array):
    return mv.Tensor(array, requires_grad=True)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "argmax", "logsumexp", "softmax", "log_softmax"])
def test_dim_is_another_name_of_axis(name):
    function = getattr(F, name)
    np.testing.assert_array_equal(function(X, dim=1).numpy(), function(X, axis=1).numpy())
    if name in ("sum", "mean", "max", "min", "argmax"):
        np.testing.assert_array_equal(getattr(leaf(X), name)(dim=1).numpy(), function(X, axis=1).numpy())
    with pytest.raises(TypeError, match=r"two names of one argument, got axis=1 .* and dim=2"):
        function(X, axis=1, dim=2)


def test_dim_in_operations_on_shapes():
    np.testing.assert_array_equal(F.cat([X, X], dim=1).numpy(), np.concatenate([X, X], 1))
    np.testing.assert_array_equal(F.stack([X, X], dim=-1).numpy(), np.stack([X, X], -1))
    index = np.array([[[1, 0, 2, 0]], [[2, 2, 1, 0]]])
    np.testing.assert_array_equal(F.gather(X, index, dim=1).numpy(), np.take_along_axis(X, index, 1))
    assert F.unsqueeze(X, dim=-1).shape == (2, 3, 4, 1)
    assert F.squeeze(X[:1], dim=0).shape == (3, 4)


def test_one_axis_is_needed_where_there_is_no_default():
    for function in (F.unsqueeze, lambda x: F.gather(x, np.zeros((2, 3, 4), int))):
        with pytest.raises(TypeError, match="axis must be an int, got None"):
            function(X)


@given(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4), st.data())
@examples
def test_squeeze_and_unsqueeze_are_numpys_and_each_others_gradient(shape, data):
    x = numbers(*shape)
    np.testing.assert_array_equal(F.squeeze(x).numpy(), np.squeeze(x))
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    longer = F.unsqueeze(x, axis)
    np.testing.assert_array_equal(longer.numpy(), np.expand_dims(x, axis))
    np.testing.assert_array_equal(longer.squeeze(axis).numpy(), x)
    if x.size:
        assert mv.gradcheck(lambda x: F.squeeze(x).unsqueeze(0), [x])


def test_squeeze_refuses_axes_that_are_longer_than_one():
    with pytest.raises(ValueError, match=r"length 1, got axis 1 of shape \(2, 3, 4\)"):
        F.squeeze(X, 1)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\) has no place 4"):
        F.unsqueeze(X, 4)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 2**16), st.data())
@examples
def test_argmax_is_numpys(shape, seed, data):
    x = np.random.default_rng(seed).integers(0, 3, shape)  # with many equal elements: the first one counts
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    keepdims = data.draw(st.booleans())
    found = F.argmax(x, axis, keepdims)
    np.testing.assert_array_equal(found.numpy(), np.argmax(x, axis, keepdims=keepdims))
    assert found.dtype == np.int64
    assert not leaf(x.astype(np.float64)).argmax().requires_grad


def test_format_prints_the_one_element():
    loss = leaf([[1.23456]]).sum()
    assert f"{loss:.3f}" == "1.235"
    assert format(loss, "8.1f") == "     1.2"
    assert f"{loss}" == repr(loss)
    with pytest.raises(ValueError, match=r"one element, got shape \(2, 3, 4\)"):
        format(mv.Tensor(X), ".3f")


def test_iteration_gives_rows_through_which_gradients_flow():
    weights = [2.0, -3.0]
    x = leaf(X)
    total = sum((row * w for row, w in zip(x, weights, strict=True)), mv.Tensor(np.zeros((3, 4))))
    total.backward(np.ones((3, 4)))
    np.testing.assert_array_equal(host(x.grad), np.broadcast_to(np.reshape(weights, (2, 1, 1)), X.shape))
    with pytest.raises(TypeError, match="without axes"):
        iter(mv.Tensor(1.0))


def test_leaves():
    a = leaf(X)
    assert a.is_leaf
    assert mv.Tensor(X).is_leaf
    assert not (a * 2.0).is_leaf
    assert (mv.Tensor(X) * 2.0).is_leaf  # a constant: no gradient flows through it
    assert (a * 2.0).detach().is_leaf


def test_only_leaves_with_requires_grad_have_a_grad():
    for t in (mv.Tensor(X), leaf(X) * 2.0):
        t.grad = None
        with pytest.raises(ValueError, match="only a leaf with requires_grad=True has a grad"):
            t.grad = on_device(np.ones_like(X))


def test_whoever_asks_again_keeps_the_gradient():
    a = leaf(X)
    a.sum().backward()
    a.requires_grad = True
    np.testing.assert_array_equal(host(a.grad), np.ones_like(X))
    a.requires_grad = False
    assert a.grad is None
