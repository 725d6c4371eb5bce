"""`pytest --device reference|native|emulator|cuda` chooses the backend for the tests of operations, layers and models.

Without the option each of these tests runs three times: with the kernels in NumPy, with those in C, and on the emulated
GPU. The tests need not know which. On the CPU, NumPy arrays belong to the backend under test. On a GPU, every Tensor
that is made from a host array moves there at once, so whatever a test computes with Tensors and models is computed
there; arrays go through on_device() and host() of strategies.py. A test that does not concern the GPU is marked
@pytest.mark.cpu_only("why"). The tests of the primitives (tests/kernels) run on both backends of the CPU, as the `k` of
strategies.py.

Other tests of the CUDA backend are marked `gpu` and use the fixture of that name. They run on the emulator or, with
--device cuda, on the GPU. Tests marked `gpu_only` need a GPU. `python -m benchmarks.gpu suite` runs all of them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cuda_emulator import Emulator, arrays, compiler

import minivae as mv
from minivae import kernels
from minivae.kernels.cuda import launcher

sys.path.append(str(Path(__file__).parents[1]))  # finds benchmarks/, which is not installed

FOLDERS = {"autograd", "ops", "nn", "models"}  # the tests in these folders run on every backend
CPU = ["reference", "native"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=[*CPU, "emulator", "cuda"],
        help="what operations, layers, optimisers and models are tested on (default: all but cuda)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # pytest runs in the background of a shell
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "gpu: a test on the emulator, or, with --device cuda, on the GPU")
    config.addinivalue_line("markers", "gpu_only: a test on the GPU, with --device cuda")
    if config.getoption("device") == "cuda":
        try:
            kernels.backend("cuda")
        except RuntimeError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.definition.path.parent.name
    if folder not in FOLDERS | {"kernels"}:
        return
    chosen = metafunc.config.getoption("device")
    devices: list[Any] = [chosen] if chosen else [*CPU, "emulator"]
    cpu_only = metafunc.definition.get_closest_marker("cpu_only")
    if cpu_only or folder == "kernels":
        reason = cpu_only.args[0] if cpu_only else "the GPU's kernels have tests of their own"
        skipped = [pytest.param("reference", marks=pytest.mark.skip(reason=reason))]
        devices = [device for device in devices if device in CPU] or skipped
    metafunc.parametrize("device", devices, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    device = config.getoption("device")
    for item in items:
        has_device = item.path.parent.name in FOLDERS | {"kernels"} or item.get_closest_marker("gpu")
        if item.get_closest_marker("gpu_only"):
            if device != "cuda":
                item.add_marker(pytest.mark.skip(reason="needs a GPU and --device cuda"))
        elif device in ("emulator", "cuda") and not has_device:
            item.add_marker(pytest.mark.skip(reason="does not depend on --device"))


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The device of this test, 'cpu' or 'cuda'. Tests without a device run on the CPU with the default backend."""
    name = getattr(request, "param", None)
    if name is None or name in CPU:
        with kernels.use_cpu(name) if name else nullcontext():
            yield "cpu"
        return
    make = mv.Tensor.__init__

    def make_on_device(self: mv.Tensor, array: Any, requires_grad: bool = False) -> None:
        make(self, array, requires_grad)
        self.convert("cuda")

    with _engine(name):
        monkeypatch.setattr(mv.Tensor, "__init__", make_on_device)
        yield "cuda"


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test that is marked `gpu` on the GPU, with --device cuda, or on the emulator."""
    with _engine("cuda" if request.config.getoption("device") == "cuda" else "emulator"):
        yield


def _engine(name: str) -> AbstractContextManager[Any]:
    if name == "cuda":
        return nullcontext()
    if compiler() is None:
        pytest.skip("the CUDA emulator needs g++")
    return launcher.use_engine(_emulator())


@cache
def _emulator() -> Emulator:
    return Emulator(xp=arrays)
