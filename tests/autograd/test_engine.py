"""The graph and the backward pass."""

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, host, numbers, on_device

import minivae as mv
from minivae.autograd import Function, enable_grad


def leaf(*values, dtype=np.float64):
    return mv.Tensor(np.array(values, dtype), requires_grad=True)


def test_a_diamond_gets_each_contribution_once():
    a = leaf(3.0)
    b = a + a
    c = b * b
    c.backward()
    assert a.grad == 8 * 3.0  # c = 4 a^2


@given(st.integers(0, 2**32))
@examples
def test_random_graphs_agree_with_forward_differentiation(seed):
    """Oracle: carry (value, derivative) pairs forward, which needs no order and no accumulation."""
    rng = np.random.default_rng(seed)
    a = leaf(0.7)
    tensors, duals = [a], [(0.7, 1.0)]
    for _ in range(rng.integers(1, 15)):
        i, j = rng.integers(len(tensors), size=2)
        (u, du), (v, dv) = duals[i], duals[j]
        if rng.random() < 0.5:
            tensors.append(tensors[i] + tensors[j])
            duals.append((u + v, du + dv))
        else:
            tensors.append(tensors[i] * tensors[j] * 0.5)
            duals.append((u * v * 0.5, (du * v + u * dv) * 0.5))
    tensors[-1].backward()
    np.testing.assert_allclose(host(a.grad), duals[-1][1], rtol=1e-12)


def test_doubling_forty_times_visits_each_node_once():
    """Whoever walks paths instead of nodes needs 2^40 steps here."""
    a = leaf(1.0)
    y = a
    for _ in range(40):
        y = y + y
    y.backward()
    assert a.grad == 2.0**40


@pytest.mark.cpu_only("the length of a chain is the engine's business")
def test_a_chain_of_100_000_operations():
    a = leaf(1.0)
    y = a
    for _ in range(100_000):
        y = y * 1.0
    y.backward()
    assert a.grad == 1.0


@pytest.mark.cpu_only("the length of a chain is the engine's business")
def test_an_unused_deep_graph_is_freed_without_recursion():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y * 1.0
    del y
    gc.collect()


def test_gradients_accumulate_until_cleared():
    a = leaf(2.0)
    (a * 3.0).backward()
    (a * 4.0).backward()
    assert a.grad == 7.0
    a.grad = None
    (a * 5.0).backward()
    assert a.grad == 5.0


def test_a_leaf_is_its_own_result():
    a = leaf(1.0, 2.0)
    a.backward(np.array([5.0, 6.0]))
    np.testing.assert_array_equal(host(a.grad), [5.0, 6.0])


@pytest.mark.cpu_only("the arrays of a GPU have no read-only flag")
def test_two_leaves_that_get_the_same_gradient_do_not_share_a_writable_array():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    dy = np.array([1.0, 1.0])
    (a + b).backward(dy)
    for t in (a, b):
        with pytest.raises(ValueError, match="read-only"):
            t.grad *= 2
    np.testing.assert_array_equal(host(b.grad), [1.0, 1.0])


def test_the_graph_is_freed_by_backward_and_kept_on_demand():
    a = leaf(2.0)
    y = a * a
    y.backward(retain_graph=True)
    y.backward()
    assert a.grad == 8.0
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_backward_a_second_time_is_an_error_even_where_nothing_was_saved():
    a = leaf(2.0)
    y = a + 1.0
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_backward_frees_what_was_saved():
    class Probe(np.ndarray):
        pass

    class Save(Function):
        def forward(self, x):
            kept = x.copy().view(Probe)
            references.append(weakref.ref(kept))
            self.save(kept)
            return x * 2

        def backward(self, dy):
            return dy * 2

    references = []
    y = Save.apply(leaf(1.0))
    gc.collect()
    assert references[0]() is not None
    y.backward()
    gc.collect()
    assert references[0]() is None


def test_a_gradient_is_freed_as_soon_as_its_function_has_done_with_it():
    freed = []

    class Double(Function):
        def forward(self, x):
            return x * 2

        def backward(self, dy):
            first = weakref.ref(dy)
            dy = dy * 2
            freed.append(first() is None)
            return dy

    x = mv.Tensor(np.ones(3), requires_grad=True)
    (Double.apply(x) * np.arange(3.0)).sum().backward()
    assert freed == [True]
    np.testing.assert_array_equal(host(x.grad), [0, 2, 4])


def test_intermediate_results_that_nobody_saved_are_freed_at_once():
    a = mv.Tensor(np.zeros(3), requires_grad=True)
    middle = a + 1.0
    array = weakref.ref(middle._array.base if middle._array.base is not None else middle._array)
    y = middle + 1.0
    del middle
    gc.collect()
    assert array() is None
    y.backward(np.ones(3))
    np.testing.assert_array_equal(host(a.grad), np.ones(3))


class TestInPlaceChanges:
    def test_a_changed_input_is_detected(self):
        a = leaf(2.0, 3.0)
        y = (a * a).sum()
        a.inplace()[...] = 0
        with pytest.raises(RuntimeError, match="Mul: .*changed in place"):
            y.backward()

    def test_a_changed_output_is_detected(self):
        y = leaf(2.0, 3.0).exp()
        total = y.sum()
        y.inplace()[...] = 0
        with pytest.raises(RuntimeError, match="Exp: .*changed in place"):
            total.backward()

    def test_a_change_through_a_view_is_detected(self):
        a = leaf(2.0, 3.0)
        row = a.reshape(1, 2)
        y = (row * row).sum()
        a.inplace()[...] = 0
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()

    def test_a_change_through_detach_is_detected(self):
        a = leaf(2.0, 3.0)
        y = (a * a).sum()
        a.detach().inplace()[...] = 0
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()

    def test_a_change_of_what_nobody_saved_is_harmless(self):
        a = leaf(2.0, 3.0)
        y = (a + 1.0).sum()
        a.inplace()[...] = 0
        y.backward()
        np.testing.assert_array_equal(host(a.grad), [1.0, 1.0])

    def test_an_optimisers_step_before_backward_is_detected(self):
        w = leaf(1.0, 2.0)
        loss = (w * w).sum()
        other = (w * 3.0).sum()
        other.backward()
        mv.optim.SGD([w], lr=0.1).step()
        with pytest.raises(RuntimeError, match="before the optimiser's step"):
            loss.backward()

    @pytest.mark.cpu_only("the arrays of a GPU have no read-only flag")
    def test_data_and_the_arrays_given_cannot_be_written_through(self):
        array = np.array([1.0, 2.0])
        a = mv.Tensor(array, requires_grad=True)
        y = (a * array).sum()
        array[...] = 7.0  # the caller's own array: minivae took copies
        with pytest.raises(ValueError, match="read-only"):
            a.data[0] = 1.0
        y.backward()
        np.testing.assert_array_equal(host(a.grad), [1.0, 2.0])

    def test_assigning_data_leaves_old_graphs_right(self):
        a = leaf(2.0)
        y = a * a
        a.data = on_device(np.array([5.0]))
        y.backward()
        assert a.grad == 4.0
        assert a.numpy() == 5.0


class TestNoGrad:
    def test_context_decorator_nesting_and_exceptions(self):
        a = leaf(1.0)

        @mv.no_grad()
        def double(x):
            return x * 2.0

        assert not double(a).requires_grad
        with mv.no_grad():
            assert not (a * 2.0).requires_grad
            with enable_grad():
                assert (a * 2.0).requires_grad
            assert not (a * 2.0).requires_grad
        with pytest.raises(KeyError), mv.no_grad():
            raise KeyError
        assert (a * 2.0).requires_grad

    def test_one_instance_may_be_entered_twice(self):
        mode = mv.no_grad()
        with mode, mode:
            pass
        assert (leaf(1.0) * 2.0).requires_grad

    def test_other_threads_are_not_affected(self):
        a, seen = leaf(1.0), []
        with mv.no_grad():
            thread = threading.Thread(target=lambda: seen.append((a * 2.0).requires_grad))
            thread.start()
            thread.join()
        assert seen == [True]


class TestErrors:
    @pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_, np.complex128, np.float16])
    def test_gradients_only_for_real_floating_dtypes(self, dtype):
        with pytest.raises(TypeError, match=np.dtype(dtype).name):
            mv.Tensor(np.zeros(2, dtype), requires_grad=True)

    def test_backward_without_history(self):
        with pytest.raises(RuntimeError, match="requires_grad"):
            mv.Tensor(np.zeros(())).backward()

    def test_upstream_gradient_is_checked(self):
        y = leaf(1.0, 2.0) * 2.0
        with pytest.raises(ValueError, match=r"shape \(2,\)"):
            y.backward()
        with pytest.raises(ValueError, match=r"\(2,\), got \(3,\)"):
            y.backward(np.ones(3))
        with pytest.raises(TypeError, match="float64, got float32"):
            y.backward(np.ones(2, np.float32))

    def test_a_backward_of_wrong_shape_dtype_or_number_is_reported(self):
        class Wrong(Function):
            def forward(self, x, result):
                self.result = result
                return x * 2

            def backward(self, dy):
                return self.result

        for result, message in [
            (np.zeros(3), r"\(2,\) float64, got \(3,\)"),
            (np.zeros(2, np.float32), "got .* float32"),
            ((np.zeros(2), None), "2 gradients for 1 inputs"),
        ]:
            with pytest.raises(RuntimeError, match=message):
                Wrong.apply(leaf(1.0, 2.0), result=result).backward(np.ones(2))

    def test_data_and_grad_must_fit(self):
        a = leaf(1.0, 2.0)
        with pytest.raises(ValueError, match=r"\(2,\) .* got \(3,\)"):
            a.data = on_device(np.zeros(3))
        with pytest.raises(ValueError, match="float32"):
            a.grad = on_device(np.zeros(2, np.float32))
        with pytest.raises(TypeError, match="Tensor"):
            a.grad = mv.Tensor(np.zeros(2))

    def test_results_do_not_choose_requires_grad(self):
        with pytest.raises(ValueError, match="leaves"):
            (leaf(1.0) * 2.0).requires_grad = False

    def test_unknown_device(self):
        with pytest.raises(ValueError, match="'tpu'"):
            leaf(1.0).to("tpu")

    @pytest.mark.parametrize("bad", ["text", [object()], [[1, 2], [3]]])
    def test_what_is_no_array_of_numbers(self, bad):
        with pytest.raises((TypeError, ValueError)):
            mv.Tensor(bad)


class TestTensor:
    def test_dtypes_follow_numpy(self):
        x32, x64 = mv.Tensor(numbers(3, dtype=np.float32)), mv.Tensor(numbers(3))
        assert (x32 * 2.5 + 1).dtype == np.float32
        assert (x32 + x64).dtype == np.float64
        assert (x32**2).dtype == np.float32
        assert (1 / x32).dtype == np.float32
        assert (mv.Tensor(np.arange(3)) / 2).dtype == np.float64
        assert mv.Tensor([1.0, 2.0]).dtype == np.float64

    def test_mixed_precision_gives_each_leaf_its_own_dtype(self):
        a = mv.Tensor(numbers(3, dtype=np.float32), requires_grad=True)
        b = mv.Tensor(numbers(3, seed=1), requires_grad=True)
        (a * b).sum().backward()
        assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)

    def test_arrays_on_the_left_ask_the_tensor(self):
        a = leaf(1.0, 2.0)
        for y in (np.ones(2) + a, np.ones(2) * a, np.ones((1, 2)) @ a, np.float64(2) * a, np.ones(2) / a):
            assert isinstance(y, mv.Tensor)
            assert y.requires_grad

    def test_comparisons_are_boolean_constants(self):
        a = leaf(1.0, 3.0)
        np.testing.assert_array_equal((a > 2).numpy(), [False, True])
        np.testing.assert_array_equal((a == np.array([1.0, 0.0])).numpy(), [True, False])
        assert not (a <= mv.Tensor(np.ones(2))).requires_grad

    def test_numpy_is_a_detached_copy(self):
        a = leaf(1.0, 2.0)
        array = (a * 2.0).numpy()
        array[0] = 99.0
        np.testing.assert_array_equal(a.numpy(), [1.0, 2.0])

    def test_silent_conversion_is_refused(self):
        with pytest.raises(TypeError, match=r"tensor.numpy\(\)"):
            np.asarray(leaf(1.0))

    def test_scalars_and_containers(self):
        a = leaf(1.0, 2.0, 3.0)
        assert len(a) == 3
        assert [float(v) for v in a] == [1.0, 2.0, 3.0]
        assert a.sum().item() == 6.0
        assert a in {a: 1}
        with pytest.raises(ValueError, match="ambiguous"):
            bool(a)
        with pytest.raises(ValueError, match="one element"):
            a.item()
        assert "requires_grad=True" in repr(a)
