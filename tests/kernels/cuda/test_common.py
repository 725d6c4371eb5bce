"""The device functions of common.cuh, which all kernels share."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler

from minivae.kernels import cuda
from minivae.kernels.cuda import launcher

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

SOURCE = """
#include "common.cuh"

// Every thread's view of the sum over the warp, its largest, its smallest and where, and two sums over the block.
template <typename T>
__global__ void together(const T* x, T* seen, int* where) {
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  T smallest = x[thread];
  int at = thread;
  warp_argmin(smallest, at);
  T* row = seen + thread * 5;
  row[0] = warp_sum(x[thread]), row[1] = warp_max(x[thread]), row[2] = smallest;
  row[3] = block_sum(x[thread]), row[4] = block_sum(row[3]);
  where[thread] = at;
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> launcher.Module:
    folder = tmp_path_factory.mktemp("common")
    shutil.copy(Path(cuda.__path__[0], "common.cuh"), folder)
    (folder / "together.cu").write_text(SOURCE, encoding="utf-8")
    return launcher.Module(folder / "together.cu")


@pytest.mark.parametrize("block", [32, 96, 1024, (16, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reductions_return_their_result_to_every_thread(module, block, dtype) -> None:
    threads = int(np.prod(block))
    x = np.random.default_rng(threads).integers(-9, 9, threads).astype(dtype)  # many ties
    seen, where = np.empty((threads, 5), dtype), np.empty(threads, np.int32)
    with launcher.use_engine(Emulator(order="all")):
        module.kernel("together", dtype)[1, block](x, seen, where)
    warps = x.reshape(-1, 32)
    for column, expected in enumerate((warps.sum(1), warps.max(1), warps.min(1))):
        np.testing.assert_array_equal(seen[:, column], np.repeat(expected, 32))
    np.testing.assert_array_equal(where, np.repeat(warps.argmin(1) + np.arange(0, threads, 32), 32))
    np.testing.assert_array_equal(seen[:, 3], x.sum())
    np.testing.assert_array_equal(seen[:, 4], x.sum() * threads)
