"""Sums over GPUs by NCCL, with a fake of it between emulated GPUs (tests/fake_nccl.py): no GPU takes part."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ranks
from cuda_emulator import Emulator, arrays, compiler
from fake_cupy import FakeCuPy, install
from fake_nccl import FakeNccl, RankEmulator

from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.engine import CupyEngine
from minivae.shards import tree_sum
from minivae.training.nccl import SMALL, NcclSum
from minivae.training.ranks import choose_gpu
from minivae.training.world import World

needs_compiler = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")
SCRIPT = Path(__file__).parents[1] / "train_on_gpus.py"


class ThreadWorld(World):
    """Ranks that are threads of this process."""

    def __init__(self, rank: int, size: int, table: dict[int, Any], barrier: Barrier) -> None:
        self.rank, self.size, self.local = rank, size, rank
        self._table, self._barrier = table, barrier

    def gather(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait(30)
        values = [self._table[rank] for rank in range(self.size)]
        self._barrier.wait(30)
        return values

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def all_to_all(self, messages: list[bytes]) -> list[bytes]:
        return [row[self.rank] for row in self.gather(messages)]


def on_ranks(size: int, function: Callable[[World, RankEmulator], Any], gpus: int | None = None) -> list[Any]:
    """What the function returns on each rank, which has its own emulated GPU: rank modulo `gpus`."""
    table, barrier = dict[int, Any](), Barrier(size)

    def rank(number: int) -> Any:
        world = ThreadWorld(number, size, table, barrier)
        return function(world, RankEmulator(number % (gpus or size), FakeNccl(world.all_to_all)))

    with launcher.use_engine(Emulator(xp=arrays)), ThreadPoolExecutor(size) as pool:
        return [future.result(60) for future in [pool.submit(rank, number) for number in range(size)]]


@needs_compiler
@pytest.mark.parametrize("size", [2, 3, 4, 20])
def test_sums_have_the_order_of_the_tree(size: int) -> None:
    """Bit by bit, for arrays that are sent whole, and in parts, of which 20 ranks leave some empty."""
    shapes = [(), (3, 5), (SMALL // 4 + 1,), (7, SMALL // 8 + 3)]
    random = np.random.default_rng(size)
    given = [
        [np.asarray(random.normal(size=shape) * 1e3, dtype) for _ in range(size)]
        for shape in shapes
        for dtype in ("float32", "float64", "int64")
    ]

    def sums(world: World, engine: RankEmulator) -> list[np.ndarray]:
        of_all = NcclSum(world, engine)
        return [arrays.asnumpy(of_all.make(arrays.array(of_ranks[world.rank]))) for of_ranks in given]

    for found in on_ranks(size, sums):
        for total, of_ranks in zip(found, given, strict=True):
            expected = tree_sum([np.atleast_1d(array) for array in of_ranks]).reshape(np.shape(of_ranks[0]))
            assert (total.dtype, total.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(total, expected)


@needs_compiler
def test_a_captured_sum_carries_the_numbers_of_each_replay() -> None:
    def replayed(world: World, engine: RankEmulator) -> list[float]:
        of_all, x, found = NcclSum(world, engine), arrays.array(np.zeros(SMALL, np.float32)), []
        total, launches = engine.capture(lambda: of_all.make(x * 2))
        for i in range(3):
            x[...] = float(10 * i + world.rank)
            launches.launch()
            found.append(float(total[SMALL - 1]))
        return found

    assert on_ranks(2, replayed) == [[2.0, 42.0, 82.0]] * 2


@needs_compiler
def test_two_ranks_on_one_gpu_are_refused_on_all_ranks() -> None:
    def refused(world: World, engine: RankEmulator) -> None:
        with pytest.raises(RuntimeError, match=r"ranks 0 and 2 are both on GPU emulated GPU 0 of .*, but NCCL needs"):
            NcclSum(world, engine)

    on_ranks(3, refused, gpus=2)


@needs_compiler
def test_a_rank_without_nccl_is_named_on_all_ranks() -> None:
    def refused(world: World, engine: RankEmulator) -> None:
        with pytest.raises(RuntimeError, match=r"rank 1 on .*: the emulated GPU has no NCCL"):
            NcclSum(world, engine if world.rank == 0 else Emulator(xp=arrays))

    on_ranks(2, refused)


@needs_compiler
def test_numbers_that_arrive_wrong_are_found_at_once() -> None:
    """Some machines are known for it, with the wrong settings of their bus."""

    def wrong(world: Any, _: RankEmulator) -> None:
        nccl = FakeNccl(lambda messages: [bytes(len(m)) for m in world.all_to_all(messages)])
        with pytest.raises(RuntimeError, match="NCCL carries wrong numbers between the GPUs: 2 ones add up to"):
            NcclSum(world, RankEmulator(world.rank, nccl))

    on_ranks(2, wrong)


@pytest.mark.parametrize("installed", [False, True])
def test_the_error_says_which_package_brings_nccl(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeCuPy())
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", SimpleNamespace(available=installed))  # type: ignore[arg-type]
    if installed:
        assert CupyEngine().nccl().available
        return
    with pytest.raises(RuntimeError, match=r"CuPy does not find: pip install 'minivae\[nccl13\]'"):
        CupyEngine().nccl()


def test_ranks_take_the_gpus_of_their_machine_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCuPy(devices=2)
    install(monkeypatch, cupy)
    with launcher.use_engine(CupyEngine()) as engine:
        found = []
        for rank in range(3):
            monkeypatch.setattr("minivae.training.ranks.world", lambda rank=rank: ThreadWorld(rank, 3, {}, Barrier(1)))
            choose_gpu("cuda")
            choose_gpu("cpu")
            found.append(engine.gpu())  # type: ignore[attr-defined]
        assert found == ["0000:00:00.0", "0000:01:00.0", "0000:00:00.0"]
        monkeypatch.setattr("minivae.training.ranks.world", World)
        cupy.cuda.Device(1).use()
        choose_gpu("cuda")
        assert cupy.current.device == 1, "a process that is alone stays where its user has put it"


@needs_compiler
def test_training_on_emulated_gpus_does_not_depend_on_their_number(tmp_path: Path) -> None:
    """Captured steps, under mpiexec: equal weights and records, bit by bit, of 1, 2 and 4 ranks."""
    one = tmp_path / "1.npz"
    code, _, err = ranks.run(1, SCRIPT, one)
    assert (code, err) == (0, "")
    expected = np.load(one)
    for count in (2, 4):
        path = tmp_path / f"{count}.npz"
        code, _, err = ranks.run(count, "-m", "mpi4py", SCRIPT, path)
        assert (code, err) == (0, "")
        found = np.load(path)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
