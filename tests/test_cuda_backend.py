"""The CUDA backend as its user sees it: Tensors, models, files and errors on another device.

The emulator and its stand-in for CuPy replace the GPU. The tests of operations, layers and models check their results
there too (see conftest.py).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from fake_cupy import FakeCuPy, install
from strategies import numbers

import minivae as mv
from minivae import kernels
from minivae.cli import main
from minivae.kernels.contract import Noise
from minivae.kernels.cuda import launcher
from minivae.models import VAE
from minivae.random import Generator

CONV = {"image_shape": (1, 6, 5), "latent_dim": 3, "channels": (2, 3), "hidden": (7,)}
DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}
needs_emulator = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.fixture
def emulator() -> Iterator[None]:
    if compiler() is None:
        pytest.skip("the CUDA emulator needs g++")
    with launcher.use_engine(Emulator(xp=arrays)):
        yield


def images(n: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def vae(settings: dict[str, Any], dtype: type = np.float32, **more: Any) -> VAE:
    """A VAE that always has the same initial weights."""
    mv.manual_seed(0)
    return VAE(**settings, **more).to(dtype=dtype)


@pytest.mark.usefixtures("emulator")
class TestTensors:
    def test_there_and_back(self) -> None:
        x = mv.Tensor(numbers(2, 3), requires_grad=True)
        there = x.to("cuda")
        assert (there.device, there.requires_grad, there.dtype) == ("cuda", True, np.float64)
        assert type(there.data) is arrays.DeviceArray
        assert there.to("cuda") is there
        back = there.to("cpu")
        assert back.device == "cpu"
        np.testing.assert_array_equal(back.numpy(), x.numpy())
        assert x.device == "cpu"

    def test_arrays_of_the_device_make_tensors_there(self) -> None:
        array = arrays.array([1.0, 2.0])
        x = mv.Tensor(array)
        array[...] = 0.0
        np.testing.assert_array_equal((x * 2.0).numpy(), [2.0, 4.0])  # the Tensor has a copy, as of a host array
        assert (x + array).device == "cuda"
        assert (array + x).device == "cuda"

    def test_numpy_scalars_take_the_device_of_the_tensor(self) -> None:
        x = mv.Tensor(np.ones(2, np.float32)).to("cuda")
        for y in (np.float32(2) * x, x / np.float32(0.5), x * 2):
            assert (y.device, y.dtype) == ("cuda", np.float32)
            np.testing.assert_array_equal(y.numpy(), [2, 2])

    def test_noise_is_the_same_on_every_device(self) -> None:
        cpu, cuda = kernels.backend("cpu"), kernels.backend("cuda")
        noise = Noise(2**40 + 3, 5)
        for dtype in (np.float32, np.float64):
            for draw, tolerance in (("uniform", 0.0), ("normal", 2e-6 if dtype == np.float32 else 1e-12)):
                expected, found = (getattr(k, draw)((5, 7), np.dtype(dtype), noise) for k in (cpu, cuda))
                assert (found.dtype, found.shape) == (dtype, (5, 7))
                np.testing.assert_allclose(cuda.to_host(found), expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("p", [0.3, numbers(4, 5, low=0, high=1)], ids=["number", "array"])
    def test_the_generator_draws_on_the_device_named(self, p: Any) -> None:
        shape = (4, 5) if isinstance(p, float) else None
        draws = [
            [g.uniform((3,), device=d), g.normal((3,), device=d), g.bernoulli(p, shape, device=d)]
            for d, g in (("cpu", Generator(7)), ("cuda", Generator(7)))
        ]
        for expected, found in zip(*draws, strict=True):
            assert type(found) is arrays.DeviceArray
            np.testing.assert_allclose(arrays.asnumpy(found), expected, atol=2e-6)

    def test_a_change_through_a_view_is_detected(self) -> None:
        x = mv.Tensor(numbers(2, 3), requires_grad=True).to("cuda")
        row = x.reshape(3, 2)
        y = (row * row).sum()
        x.inplace()[...] = 0.0
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()


DEVICES_TO_MIX: dict[str, Callable[[mv.Tensor, mv.Tensor], Any]] = {
    "operation": lambda here, there: here + there,
    "primitive": lambda here, there: here @ there,
    "comparison": lambda here, there: here < there,
    "constant": lambda here, there: there * here.numpy(),
    "index": lambda here, there: here[(there > 0)],
}


@pytest.mark.usefixtures("emulator")
class TestMixedDevices:
    @pytest.mark.parametrize("name", DEVICES_TO_MIX)
    def test_errors_name_both_devices_and_how_to_convert(self, name: str) -> None:
        here = mv.Tensor(numbers(3, 3))
        with pytest.raises(TypeError, match=r"(cpu \(3, 3\), cuda|cuda \(3, 3\), cpu).*tensor\.to\('cuda'\)"):
            DEVICES_TO_MIX[name](here, here.to("cuda"))

    def test_gradients_and_values_stay_on_the_device(self) -> None:
        x = mv.Tensor(numbers(3), requires_grad=True).to("cuda")
        for name in ("grad", "data"):
            with pytest.raises(TypeError, match="an array on cuda.*got ndarray"):
                setattr(x, name, np.ones(3))

    def test_an_optimiser_that_was_made_before_its_model_moved(self) -> None:
        model = vae(DENSE)
        optimizer = mv.optim.Adam(model.parameters())
        model.to("cuda").loss(images(2)).loss.backward()
        with pytest.raises(TypeError, match="different devices: cuda .*cpu"):
            optimizer.step()

    def test_arrays_of_another_library(self) -> None:
        class Foreign:
            __cuda_array_interface__ = None

        with pytest.raises(TypeError, match="Foreign"):
            mv.Tensor(Foreign())


@pytest.mark.usefixtures("emulator")
class TestModels:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("settings", [CONV, DENSE], ids=["conv", "dense"])
    def test_training_follows_the_same_curve(self, settings: dict[str, Any], dtype: type) -> None:
        """Three steps of Adam from one seed may differ by rounding only."""
        losses, weights = [], []
        for device in ("cpu", "cuda"):
            model = vae(settings, dtype, likelihood="gaussian").fit(
                images(24, dtype=dtype), epochs=3, batch_size=24, lr=1e-2, clip_norm=5.0, device=device
            )
            assert {p.device for p in model.parameters()} == {device}
            losses.append([record["loss"] for record in model.history])
            weights.append(np.concatenate([w.ravel() for w in model.state_dict().values()]))
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9 if dtype == np.float64 else 1e-5)
        np.testing.assert_allclose(weights[1], weights[0], atol=1e-9 if dtype == np.float64 else 1e-4)
        assert losses[0][0] != losses[0][2]

    @pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic", "continuous-bernoulli"])
    @pytest.mark.parametrize("settings", [CONV, DENSE], ids=["conv", "dense"])
    def test_a_loss_and_its_gradients_never_leave_the_device(self, settings: dict[str, Any], likelihood: str) -> None:
        """A CUDA graph can capture them, because only the batch is copied from the host, before the step."""
        model = vae(settings, likelihood=likelihood).to("cuda")
        x = model.tensor(images(4))
        with arrays.captured():
            model.loss(x, Noise(1, 0)).loss.backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_plain_arrays_in_and_out(self) -> None:
        here, there = vae(CONV, np.float64), vae(CONV, np.float64).to("cuda")
        x = images(5, dtype=np.float64)
        for name, argument in [("encode", x), ("reconstruct", x), ("sample", 3), ("score_samples", x)]:
            results = []
            for model in (here, there):
                mv.manual_seed(4)
                results.append(getattr(model, name)(argument))
            assert type(results[1]) is np.ndarray
            np.testing.assert_allclose(results[1], results[0], rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
    def test_a_training_is_resumed_on_the_other_device(self, tmp_path: Path, first: str, second: str) -> None:
        def fit(epochs: int, device: str, **more: Any) -> VAE:
            return vae(DENSE, np.float64).fit(
                images(20, dtype=np.float64), epochs=epochs, batch_size=8, device=device, **more
            )

        def stop(record: dict[str, Any]) -> None:
            if record["epoch"] == 1:
                raise KeyboardInterrupt

        path = tmp_path / "checkpoint.npz"
        whole = fit(2, first)
        with pytest.raises(KeyboardInterrupt):
            fit(2, first, checkpoint=path, on_epoch=stop)
        resumed = fit(2, second, checkpoint=path, resume=True)
        np.testing.assert_allclose(resumed.history[1]["loss"], whole.history[1]["loss"], rtol=1e-9)

    def test_a_saved_model_has_no_device(self, tmp_path: Path) -> None:
        model = vae(CONV).to("cuda")
        model.save(tmp_path / "model.npz")
        loaded = VAE.load(tmp_path / "model.npz")
        assert {p.device for p in loaded.parameters()} == {"cpu"}
        for name, array in loaded.state_dict().items():
            np.testing.assert_array_equal(array, model.state_dict()[name])


class TestStandIn:
    """The stand-in is stricter than CuPy: code that runs on it does not mix devices."""

    @pytest.mark.parametrize(
        "mixture",
        [
            lambda x, h: x + h,
            lambda x, h: h * x,
            lambda x, h: x < h,
            lambda x, h: arrays.maximum(x, h),
            lambda x, h: arrays.where(x > 0, x, h),
            lambda x, h: arrays.concatenate([x, h]),
            lambda x, h: x.__setitem__(slice(None), h),
            lambda x, h: x[h.astype(int)],
            lambda x, h: x[[0, 1]],
            lambda x, h: h.__iadd__(x),
            lambda x, h: h.__setitem__(slice(None), x),
            lambda x, h: np.asarray(x),
            lambda x, h: np.exp(x),
            lambda x, h: np.sum(x),
            lambda x, h: np.add(h, x),
            lambda x, h: x @ x,
        ],
    )
    def test_what_a_gpu_would_refuse_or_copy_is_refused(self, mixture: Callable[[Any, np.ndarray], Any]) -> None:
        with pytest.raises(TypeError):
            mixture(arrays.ones(3), np.ones(3))

    def test_everything_that_is_computed_stays_on_the_device(self) -> None:
        x = arrays.asarray(np.arange(6.0).reshape(2, 3))
        results = [x.sum(), x[0], x[0, 0], x.max(axis=1), x + 1, np.float64(2) * x, -x, arrays.exp(x), x.T, x == 1.0]
        assert all(type(y) is arrays.DeviceArray for y in results)
        assert float(x[1, 2]) == 5.0
        x[0, 0] += 7.0
        assert float(x.sum()) == 22.0

    def test_cupy_has_what_it_offers(self) -> None:
        cupy = pytest.importorskip("cupy", reason="needs CuPy, a GPU it does not need")
        own = {"DeviceArray", "captured", "memory"}
        assert [
            name for name in (*arrays.FUNCTIONS, *arrays.__all__) if name not in own and not hasattr(cupy, name)
        ] == []
        members = (*arrays.METHODS, *arrays.PROPERTIES)
        assert [name for name in members if not hasattr(cupy.ndarray, name)] == []

    def test_a_function_that_is_not_listed_is_refused(self) -> None:
        with pytest.raises(AttributeError, match="no 'einsum'"):
            _ = arrays.einsum

    @pytest.mark.parametrize(
        "crossing", [float, int, bool, arrays.asnumpy, lambda x: x.item(), lambda x: arrays.array(1)]
    )
    def test_what_cannot_be_captured_is_refused(self, crossing: Callable[[Any], Any]) -> None:
        x = arrays.ones(())
        crossing(x)
        with arrays.captured(), pytest.raises(RuntimeError, match="between host and device"):
            crossing(x)
        crossing(x)

    def test_fresh_memory_is_not_zero(self) -> None:
        assert np.isnan(arrays.asnumpy(arrays.empty((2, 2), np.float32))).all()
        assert np.all(arrays.asnumpy(arrays.empty(3, np.int64)) == -1)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine is in use, as in a process that has not used the GPU yet."""
    monkeypatch.setattr(launcher, "_engine", None)


WAYS_TO_ASK: dict[str, Callable[[], Any]] = {
    "backend": lambda: kernels.backend("cuda"),
    "tensor": lambda: mv.Tensor([1.0]).to("cuda"),
    "module": lambda: mv.nn.Linear(2, 2).to("cuda"),
    "fit": lambda: VAE(**DENSE).fit(images(2), device="cuda"),
    "generator": lambda: Generator().normal((2,), device="cuda"),
}


@pytest.mark.usefixtures("no_engine")
class TestWithoutGpu:
    @pytest.mark.parametrize("way", WAYS_TO_ASK)
    def test_without_cupy_the_error_says_what_to_install(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
        with pytest.raises(RuntimeError, match=r"needs CuPy: pip install 'minivae\[cuda13\]'"):
            WAYS_TO_ASK[way]()

    @pytest.mark.parametrize("way", WAYS_TO_ASK)
    def test_without_gpu_the_error_says_what_was_found(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, FakeCuPy(available=False))
        with pytest.raises(RuntimeError, match=r"CuPy 14\.2\.0 is installed, but finds no GPU"):
            WAYS_TO_ASK[way]()

    def test_out_of_memory_names_the_bytes_asked_for_and_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cupy = FakeCuPy(total=1000)
        install(monkeypatch, cupy)
        kernels.backend("cuda")
        held = cupy.alloc(700)
        with pytest.raises(MemoryError, match="400 bytes asked for, 300 of 1,000 free"):
            cupy.alloc(400)
        del held

    def test_the_error_for_an_unknown_device_names_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'tpu'"):
            kernels.backend("tpu")


@pytest.mark.usefixtures("no_engine")
def test_the_command_line_prints_the_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["train", "vae", "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minivae: error: device cuda needs CuPy")


def test_the_cpu_never_imports_cupy() -> None:
    code = "import sys, minivae as mv, minivae.kernels.cuda; mv.models.VAE().sample(1);assert 'cupy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
