"""benchmarks/launches.py: every kernel there is, each gives what NumPy gives, and the same bits out of a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler

from benchmarks import launches
from minivae import kernels
from minivae.kernels import reference
from minivae.kernels.cuda import launcher


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("launch", launches.LAUNCHES, ids=lambda each: each.name)
class TestLaunch:
    """On the emulator or, with --device cuda, on the GPU."""

    def test_it_gives_what_numpy_gives(self, launch: launches.Launch) -> None:
        found = launches.results(launch)
        if launch.name.startswith(("ladder", "write_words")):
            return  # which only the GPU has; tests/kernels/cuda compares them
        expected = launch.run(reference, np.asarray)
        for mine, theirs in zip(found, expected if isinstance(expected, (tuple, list)) else [expected], strict=True):
            if launch.exact:
                np.testing.assert_array_equal(mine, theirs)
            else:
                np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)

    def test_captured_and_replayed_it_gives_the_same_bits(self, launch: launches.Launch) -> None:
        k, hosts = kernels.backend("cuda"), list[np.ndarray]()

        def from_host(array: np.ndarray) -> Any:
            hosts.append(array)
            return k.asarray(array)

        def to_host(found: Any) -> list[np.ndarray]:
            return [k.to_host(array) for array in (found if isinstance(found, (tuple, list)) else [found])]

        expected = to_host(launch.run(k, from_host))
        inputs = iter([k.asarray(array) for array in hosts])  # they cannot come from the host while it is captured
        found, graph = launcher.engine().capture(lambda: launch.run(k, lambda _: next(inputs)))
        graph.launch()
        for mine, theirs in zip(to_host(found), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")
def test_every_kernel_is_launched() -> None:
    names: set[str] = set()

    class Watching(Emulator):
        def launch(self, function: Any, *arguments: Any) -> None:
            names.add(function.signature.name.partition("<")[0])
            super().launch(function, *arguments)

    with launcher.use_engine(Watching(xp=arrays)):
        for launch in launches.LAUNCHES:
            launches.results(launch)
    assert names == launches.kernel_names()


def test_the_sanitizer_sees_each_array_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a pool memcheck misses an index that ends up in the array beside, and all within CuPy's 512 bytes."""
    done: list[Any] = []
    engine = SimpleNamespace(
        xp=SimpleNamespace(cuda=SimpleNamespace(set_allocator=done.append)), synchronize=lambda: done.append("waited")
    )
    monkeypatch.setattr(launches, "LAUNCHES", [SimpleNamespace(name="a kernel")])
    monkeypatch.setattr(launches, "results", lambda launch: done.append(launch.name))
    with launcher.use_engine(engine):  # type: ignore[arg-type]
        launches.main()
    assert done == [None, "a kernel", "waited"]
