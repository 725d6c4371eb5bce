"""Which results of a tile each thread computes (tile.cuh), and what the lanes of a warp read at the same time."""

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
#include "tile.cuh"

// rows (256, 8), columns (256, 8) of each thread's results
__global__ void place(int* rows, int* columns) {
  for (int i = 0; i < 8; i++) {
    rows[threadIdx.x * 8 + i] = tile_row(i);
    columns[threadIdx.x * 8 + i] = tile_column(i);
  }
}
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    folder = tmp_path_factory.mktemp("tile")
    shutil.copy(Path(cuda.__path__[0], "tile.cuh"), folder)
    (folder / "place.cu").write_text(SOURCE, encoding="utf-8")
    rows, columns = np.empty((256, 8), np.int32), np.empty((256, 8), np.int32)
    with launcher.use_engine(Emulator()):
        launcher.Module(folder / "place.cu").kernel("place")[1, 256](rows, columns)
    return rows, columns


@pytest.mark.parametrize(("P", "Q"), [(4, 4), (8, 4), (8, 8)])
def test_each_result_is_computed_by_one_thread(places: tuple[np.ndarray, np.ndarray], P: int, Q: int) -> None:
    rows, columns = places
    count = np.zeros((16 * P, 16 * Q), int)
    np.add.at(count, (rows[:, :P, None], columns[:, None, :Q]), 1)
    assert (count == 1).all()


def test_groups_of_four_rows_or_columns_are_adjacent_and_aligned(places: tuple[np.ndarray, np.ndarray]) -> None:
    for place in places:
        fours = place.reshape(256, 2, 4)
        assert (fours == fours[..., :1] + np.arange(4)).all()
        assert (fours[..., 0] % 4 == 0).all()


def test_pairs_of_lanes_load_from_one_address(places: tuple[np.ndarray, np.ndarray]) -> None:
    """Lanes l and l ^ 1 share rows of a, l and l ^ 2 share columns of b: a 16-byte load takes two steps, not four."""
    rows, columns = places
    threads = np.arange(256)
    np.testing.assert_array_equal(rows, rows[threads ^ 1])
    np.testing.assert_array_equal(columns, columns[threads ^ 2])


def test_a_half_of_a_warp_reads_no_bank_twice(places: tuple[np.ndarray, np.ndarray]) -> None:
    """The floats, at most 128 bytes, that 16 lanes read of an operand at the same time lie in different banks."""
    for place in places:
        for lanes in place[:, 0].reshape(16, 16):
            first = np.unique(lanes)
            banks = (first[:, None] + np.arange(4)) % 32
            assert len(np.unique(banks)) == banks.size


def test_threads_that_share_a_column_are_lanes_of_one_warp(places: tuple[np.ndarray, np.ndarray]) -> None:
    """The search for the nearest code relies on it (quantize.cu)."""
    _, columns = places
    for column in np.unique(columns[:, 0]):
        assert len(set(np.flatnonzero(columns[:, 0] == column) // 32)) == 1
