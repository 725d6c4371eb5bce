"""Arrays are values: what a user's code writes into is never what the engine, or somebody else, goes on with."""

import copy
import pickle

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv


def leaf(*values):
    return mv.Tensor(np.array(values, np.float64), requires_grad=True)


class WritesIntoDy(mv.Function):
    def forward(self, x):
        return x * 2

    def backward(self, dy):
        dy *= 2
        return dy


class WritesIntoX(mv.Function):
    def forward(self, x):
        x[x < 0] = 0
        return x

    def backward(self, dy):
        return dy


@pytest.mark.cpu_only("the arrays of a GPU have no read-only flag")
def test_a_backward_that_writes_into_dy_is_an_error_and_corrupts_nothing():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with pytest.raises(ValueError, match="read-only"):
        ((WritesIntoDy.apply(x) + y) * 1.0).sum().backward()


@pytest.mark.cpu_only("the arrays of a GPU have no read-only flag")
def test_a_forward_that_writes_into_its_input_is_an_error_and_changes_nothing():
    x = leaf(-1.0, 2.0)
    with pytest.raises(ValueError, match="read-only"):
        WritesIntoX.apply(x)
    np.testing.assert_array_equal(host(x.data), [-1.0, 2.0])


@pytest.mark.cpu_only("arrays of the host")
def test_gradients_do_not_change_with_the_arrays_that_the_caller_gave():
    x, dy = leaf(1.0, 2.0), np.ones(2)
    (x * 1.0).backward(dy)
    (x + 0.0).backward(dy)
    dy[:] = 7
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])
    x.grad = dy
    dy[:] = 5
    np.testing.assert_array_equal(x.grad, [7.0, 7.0])


@pytest.mark.cpu_only("arrays of the host")
def test_an_index_is_taken_as_it_was():
    x, i = leaf(1.0, 2.0, 3.0), np.array([0, 1])
    indices = mv.Tensor(i)
    y = x[i].sum() + x[indices].sum()
    i[:] = 2
    indices.inplace()[...] = 2
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0, 0.0])


def test_a_tensor_with_a_history_is_not_copied_and_a_leaf_is():
    x = leaf(1.0, 2.0)
    x.grad = None
    for copied in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))) if x.device == "cpu" else ():
        np.testing.assert_array_equal(copied.data, x.data)
        assert copied.requires_grad
    for make in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"keeps its graph .* use detach\(\)"):
            make(x * 2.0)


def test_gradcheck_works_inside_no_grad():
    with mv.no_grad():
        assert mv.gradcheck(lambda x: x * x, [numbers(3)])
