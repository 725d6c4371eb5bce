"""benchmarks/launches.py, on the emulator: it launches every kernel there is, and gives what NumPy gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler

from benchmarks import launches
from minivae.kernels import cpu
from minivae.kernels.cuda import launcher

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.fixture(scope="module")
def launched() -> Iterator[set[str]]:
    """The names of the kernels that were launched."""
    names: set[str] = set()

    class Watching(Emulator):
        def launch(self, function: Any, *arguments: Any) -> None:
            names.add(function.signature.name.partition("<")[0])
            super().launch(function, *arguments)

    with launcher.use_engine(Watching(xp=arrays)):
        yield names


@pytest.mark.parametrize("launch", launches.LAUNCHES, ids=lambda each: each.name)
def test_a_launch_gives_what_numpy_gives(launch: Any, launched: set[str]) -> None:
    found = launches.results(launch)
    if launch.name.startswith(("conv ", "gemm ", "write_words")):
        return  # steps of a ladder, which only the GPU has; tests/kernels/cuda compares them
    expected = launch.run(cpu, np.asarray)
    for mine, theirs in zip(found, expected if isinstance(expected, (tuple, list)) else [expected], strict=True):
        if launch.exact:
            np.testing.assert_array_equal(mine, theirs)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)


def test_every_kernel_is_launched(launched: set[str]) -> None:
    for launch in launches.LAUNCHES:
        launches.results(launch)
    assert launched == launches.kernel_names()
