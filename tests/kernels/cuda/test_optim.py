"""Optimiser steps on the GPU equal those of the CPU, for tensors of any size and layout, and can be captured."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import reference
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.optim import CHUNK, adam_step, global_norm, sgd_step

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
SHAPES = [(3, 4), (), (0, 5), (2, 3, 2, 2), (CHUNK,), (7,), (61, 70), (CHUNK - 1,), (2, CHUNK + 1)]
LAYOUTS = ["C", "F", "channels last", "gaps", "rows backwards"]
ADAM = {"betas": (0.9, 0.999), "eps": 1e-3, "weight_decay": 0.1, "decoupled": True}
SGD = {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """An equal array in another memory layout, with NaN between its elements."""
    if layout == "gaps":
        gaps = np.full((*x.shape, 2), np.nan, x.dtype)[..., 0]
        gaps[...] = x
        return gaps
    if layout == "rows backwards" and x.ndim:
        return x[::-1].copy()[::-1]
    if layout == "channels last" and x.ndim == 4:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return np.asarray(x, order="F" if layout == "F" else "C")


def tensors(dtype: type, layouts: tuple[str, ...] = ("C",) * 4, shapes: list[tuple] = SHAPES) -> list[list[np.ndarray]]:
    """Lists of parameters, gradients, first moments and second moments, each in the memory layout named."""
    low = [-2, -2, -1, 0]
    return [
        [laid_out(numbers(*shape, seed=10 * i + j, low=low[i], dtype=dtype), layout) for j, shape in enumerate(shapes)]
        for i, layout in enumerate(layouts)
    ]


def copies(lists: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    return [[a.copy() for a in together] for together in lists]


def assert_close(actual: list[list[np.ndarray]], expected: list[list[np.ndarray]]) -> None:
    for together, values in zip(actual, expected, strict=True):
        for a, v in zip(together, values, strict=True):
            assert a.dtype == v.dtype
            tolerance = 5e-6 if a.dtype == np.float32 else 1e-13
            np.testing.assert_allclose(a, v, rtol=tolerance, atol=tolerance)


some_layouts = st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4).map(tuple)


@examples
@given(
    layouts=some_layouts,
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    nesterov=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_sgd_is_that_of_the_cpu_in_place_in_any_layout(layouts, momentum, weight_decay, nesterov, dtype) -> None:
    lists = tensors(dtype, layouts)[:3]
    expected = copies(lists)
    for step, (params, grads, velocities) in ((reference.sgd_step, expected), (sgd_step, lists)):
        velocities = velocities if momentum else []
        step(params, grads, velocities, 0.1, momentum, weight_decay, nesterov and momentum > 0)
    assert_close(lists, expected)


@examples
@given(
    layouts=some_layouts,
    step=st.sampled_from([1, 2, 1000]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.5)]),
    dtype=st.sampled_from(DTYPES),
)
def test_adam_is_that_of_the_cpu_in_place_in_any_layout(layouts, step, weight_decay, decoupled, betas, dtype) -> None:
    lists = tensors(dtype, layouts)
    expected = copies(lists)
    reference.adam_step(*expected, step, 0.05, betas, 1e-3, weight_decay, decoupled)
    adam_step(*lists, step, 0.05, betas, 1e-3, weight_decay, decoupled)
    assert_close(lists, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_are_exact(dtype) -> None:
    """Nothing is rounded, because all factors are powers of two or sums of two of them."""
    lists = [[np.asarray(np.round(4 * a)) for a in together] for together in tensors(dtype)]
    expected = copies(lists)
    reference.sgd_step(*expected[:3], 0.25, 0.5, 0.5, True)
    sgd_step(*lists[:3], 0.25, 0.5, 0.5, True)
    reference.adam_step(*expected, 1, 0.0, (0.5, 0.75), 1.0, 0.5, False)
    adam_step(*lists, 1, 0.0, (0.5, 0.75), 1.0, 0.5, False)
    for together, values in zip(lists, expected, strict=True):
        for a, v in zip(together, values, strict=True):
            np.testing.assert_array_equal(a, v)


@pytest.mark.parametrize("count", [1, 2, 3, 37])
def test_every_chunk_of_many_tensors_is_found_once(count) -> None:
    sizes = np.random.default_rng(count).integers(1, 40, count) ** 3
    params = [np.full(n, 3 * i, np.float32) for i, n in enumerate(sizes)]
    sgd_step(params, [np.full(n, i, np.float32) for i, n in enumerate(sizes)], [], 1.0, 0.0, 0.0, False)
    for i, p in enumerate(params):
        np.testing.assert_array_equal(p, np.full(sizes[i], 2 * i))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_depends_on_the_order_of_threads(dtype) -> None:
    shapes = [(5,), (61, 70), (3,)]
    with launcher.use_engine(ALL_ORDERS):
        sgd_step(*tensors(dtype, shapes=shapes)[:3], 0.1, **SGD)
        adam_step(*tensors(dtype, shapes=shapes), 3, 0.1, **ADAM)
        global_norm(tensors(dtype, shapes=shapes)[0])


@pytest.mark.parametrize("guard", ["start", "end"])
def test_no_kernel_accesses_memory_outside_its_arrays(guard) -> None:
    shapes = [(5,), (61, 70), (CHUNK,)]
    with launcher.use_engine(Emulator(guard=guard, check_bounds=True)):
        sgd_step(*tensors(np.float32, shapes=shapes)[:3], 0.1, **SGD)
        adam_step(*tensors(np.float32, shapes=shapes), 3, 0.1, **ADAM)
        assert np.isfinite(global_norm(tensors(np.float32, shapes=shapes)[0]))


def test_tensors_of_both_dtypes_go_together() -> None:
    mixed = [x + y for x, y in zip(tensors(np.float32), tensors(np.float64), strict=True)]
    expected = copies(mixed)
    reference.adam_step(*expected, 2, 0.1, **ADAM)
    adam_step(*mixed, 2, 0.1, **ADAM)
    assert_close(mixed, expected)
    np.testing.assert_allclose(global_norm(mixed[0]), reference.global_norm(mixed[0]), rtol=1e-13)


def test_nothing_to_do() -> None:
    sgd_step([], [], [], 0.1, 0.9, 0.0, False)
    empty = [np.zeros((0, 3), np.float32)]
    adam_step(empty, empty, empty, empty, 1, 0.1, **ADAM)
    assert global_norm([]) == global_norm(empty) == 0


# ---- numbers on the device ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,)])
def test_step_and_lr_on_the_device_give_the_same_bits(dtype, shape) -> None:
    for step in (1, 7, 100_000):
        by_value, live = tensors(dtype), tensors(dtype)
        on_device = np.full(shape, step, np.int64), np.full(shape, 0.1, np.float64)
        adam_step(*by_value, step, 0.1, **ADAM)
        adam_step(*live, *on_device, **ADAM)
        sgd_step(*by_value[:3], 0.1, **SGD)
        sgd_step(*live[:3], on_device[1], **SGD)
        for x, y in zip(by_value, live, strict=True):
            assert all(a.tobytes() == b.tobytes() for a, b in zip(x, y, strict=True))


def test_numbers_on_the_device_must_have_the_right_dtype() -> None:
    for step, lr, message in ((np.array(1, np.int32), 0.1, "live_step"), (1, np.array(0.1, np.float32), "live_lr")):
        with pytest.raises(TypeError, match=message):
            adam_step(*tensors(np.float32), step, lr, **ADAM)


def on_device(lists: list[list[np.ndarray]]) -> list[list[arrays.DeviceArray]]:
    return [[arrays.array(a) for a in together] for together in lists]


def test_a_step_that_has_run_before_can_be_captured() -> None:
    """By then all tables are on the GPU, also for tensors that are copied, and step and lr are read from there."""
    lists = tensors(np.float32, shapes=[(3, 4), (61, 70)])
    expected, device = copies(lists), on_device(lists)
    step, lr = arrays.array(np.int64(1)), arrays.array(0.1)
    with launcher.use_engine(Emulator(xp=arrays)):
        adam_step(*device, step, lr, **ADAM)
        step += 1
        lr *= 0.5
        with arrays.captured():
            adam_step(*device, step, lr, **ADAM)
    reference.adam_step(*expected, 1, 0.1, **ADAM)
    reference.adam_step(*expected, 2, 0.05, **ADAM)
    assert_close([[arrays.asnumpy(a) for a in together] for together in device], expected)


def test_tables_are_uploaded_once_and_keep_no_gradient_alive(monkeypatch) -> None:
    engine, uploads = Emulator(xp=arrays), []
    upload = engine.upload
    monkeypatch.setattr(engine, "upload", lambda array: uploads.append(array) or upload(array))
    device = on_device(tensors(np.float32, shapes=[(3, 4), (5,)]))
    with launcher.use_engine(engine):
        for _ in range(3):
            adam_step(*device, 1, 0.1, **ADAM)
            assert len(uploads) == 6  # four tables, sizes, first chunks
        gradient = weakref.ref(arrays.memory(device[1][0]))
        del device[1]
        gc.collect()
        assert gradient() is None


def test_each_device_has_tables_of_its_own() -> None:
    """Two GPUs do not share tables of equal sizes; a kernel that reads memory of another GPU is refused."""

    class TwoDevices(Emulator):
        here, uploaded = 0, dict[int, tuple[int, np.ndarray]]()

        def device(self) -> int:
            return self.here

        def upload(self, array: np.ndarray) -> np.ndarray:
            copy = super().upload(array)
            self.uploaded[id(copy)] = self.here, copy
            return copy

        def check_device(self, array: np.ndarray) -> None:
            device, _ = self.uploaded.get(id(array), (self.here, array))
            if device != self.here:
                raise ValueError(f"the array is on device {device}, the current device is {self.here}")

    two = TwoDevices()
    with launcher.use_engine(two):
        for two.here in (0, 1, 0):
            params, grads = tensors(np.float32)[:2]
            sgd_step(params, grads, [], 0.1, momentum=0.0, weight_decay=0.0, nesterov=False)
    assert {device for device, _ in two.uploaded.values()} == {0, 1}


# ---- the norm ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_global_norm(dtype, layout) -> None:
    lists = tensors(dtype, (layout,))[0]
    norm = global_norm(lists)
    assert (norm.shape, norm.dtype) == ((), np.float64)
    np.testing.assert_allclose(norm, np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in lists)), rtol=1e-13)


def test_global_norm_is_exact_on_integers_and_of_a_broadcast_view() -> None:
    assert global_norm([np.full((3, 4, CHUNK), 2, np.float32)]) == 2 * np.sqrt(12 * CHUNK)
    assert global_norm([np.broadcast_to(np.float32(2), (3, 3))]) == 6


def test_global_norm_accumulates_in_float64_and_does_not_overflow() -> None:
    assert global_norm([np.array([3e30], np.float32), np.array([-4e30], np.float32)]) == pytest.approx(5e30, rel=1e-6)
    assert global_norm([np.array([1e4], np.float32), np.full(10_000, 1e-2, np.float32)]) > 1e4
    assert np.isnan(global_norm([np.array([np.nan])]))
