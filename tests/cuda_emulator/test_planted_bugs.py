"""Every kind of bug that the emulator claims to find is planted once and found; the correct code raises no alarm."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import Emulator, compiler
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.launcher import CompileError, LaunchError

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

KERNELS = Path(__file__).with_name("kernels")
BUGS = launcher.Module(KERNELS / "bugs.cu", {"neighbour": [(True,), (False,)]})
GEMM = launcher.Module(KERNELS / "gemm.cu", {"gemm": [("float", 8, True), ("float", 8, False)]})
ALL = 0xFFFFFFFF


@pytest.fixture(params=["forward", "reversed", 2], autouse=True)
def emulator(request: pytest.FixtureRequest) -> Iterator[None]:
    with launcher.use_engine(Emulator(order=request.param)):
        yield


def floats(n: int = 64) -> np.ndarray:
    return np.zeros(n, np.float32)


def ints(n: int = 32) -> np.ndarray:
    return np.zeros(n, np.int32)


def run(name: str, *arguments: object, threads: int = 64, shared: int = 0, blocks: int = 1) -> None:
    BUGS.kernel(name)[blocks, threads, shared](*arguments)


def test_barrier_that_some_threads_do_not_reach() -> None:
    run("divergent_barrier", floats(), 64)
    run("divergent_barrier", floats(), 0)
    with pytest.raises(
        LaunchError,
        match=r"divergent_barrier .*reached by 40 of 64 threads: .*bugs.cu:5, but thread .* has finished, in block",
    ):
        run("divergent_barrier", floats(), 40)


def test_early_return_before_a_barrier() -> None:
    run("early_return", floats(), 64)
    with pytest.raises(LaunchError, match=r"reached by 63 of 64 threads.* but thread \(63,0,0\) has finished"):
        run("early_return", floats(), 63)


def test_barriers_at_different_lines() -> None:
    run("different_barriers", floats(), 64)
    with pytest.raises(LaunchError, match=r"wait at different barriers: .*bugs.cu:1[79], thread .*bugs.cu:1[79]"):
        run("different_barriers", floats(), 32)


def test_a_failed_launch_changes_nothing_and_leaves_the_emulator_usable() -> None:
    x = floats()
    with pytest.raises(LaunchError):
        run("divergent_barrier", x, 40)
    assert not x.any()
    run("divergent_barrier", x, 64)
    assert x.all()


def test_missing_second_barrier_depends_on_the_order() -> None:
    """Between two tiles of a matrix product, threads overwrite a tile that other threads still read."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-8, 9, (24, 24)).astype(np.float32) for _ in range(2))
    c = np.zeros((24, 24), np.float32)
    arguments = a, b, c, {"M": 24, "N": 24, "K": 24}
    GEMM.kernel("gemm", "float", 8, False)[(3, 3), (8, 8)](*arguments)
    assert not np.array_equal(c, a @ b)
    with launcher.use_engine(Emulator(order="all")):
        GEMM.kernel("gemm", "float", 8, True)[(3, 3), (8, 8)](*arguments)
        assert np.array_equal(c, a @ b)
        with pytest.raises(LaunchError, match="C depends on the order of threads: forward and reversed differ"):
            GEMM.kernel("gemm", "float", 8, False)[(3, 3), (8, 8)](*arguments)


def test_missing_syncwarp_depends_on_the_order() -> None:
    x = np.arange(32, dtype=np.int32)
    with launcher.use_engine(Emulator(order="all")):
        BUGS.kernel("neighbour", True)[1, 32](x)
        assert np.array_equal(x, np.roll(np.arange(32), -1))
        with pytest.raises(LaunchError, match="x depends on the order of threads"):
            BUGS.kernel("neighbour", False)[1, 32](x)


def test_result_that_depends_on_the_order_of_blocks() -> None:
    with launcher.use_engine(Emulator(order="all")):
        run("last_block", ints(), blocks=1)
        with pytest.raises(LaunchError, match="x depends on the order of threads"):
            run("last_block", ints(), blocks=2)


def test_uninitialised_shared_memory_is_nan_in_every_block() -> None:
    x, y = floats(), np.zeros(64)
    run("uninitialised_shared", x, y, 64)
    assert np.all(x == 1)
    assert np.all(y == 1)
    run("uninitialised_shared", x, y, 60, blocks=2)  # the second block must not see the memory of the first
    assert np.array_equal(np.isnan(x), np.arange(64) >= 60)
    assert np.array_equal(np.isnan(y), np.arange(64) >= 60)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uninitialised_shared_memory_of_a_template(dtype: str) -> None:
    x = np.zeros(64, dtype)
    BUGS.kernel("uninitialised_in_template", np.dtype(dtype))[1, 64](x)
    assert np.isnan(x).all()


def test_uninitialised_dynamic_shared_memory() -> None:
    x = floats()
    run("uninitialised_dynamic", x, 60, shared=256, blocks=2)
    assert np.array_equal(np.isnan(x), np.arange(64) >= 60)


def test_read_past_the_end() -> None:
    run("read_at", floats(65), floats(), 1)
    with pytest.raises(
        LaunchError, match=r"out-of-bounds read of x, 0 bytes past its end, in block \(0,0,0\), thread \(63,0,0\)"
    ):
        run("read_at", floats(), floats(), 1)


def test_write_past_the_end() -> None:
    with pytest.raises(LaunchError, match=r"out-of-bounds write of y, 0 bytes past its end, .*thread \(63,0,0\)"):
        run("write_at", floats(), 1)


def test_write_far_past_the_end() -> None:
    with pytest.raises(LaunchError, match=r"out-of-bounds write of y, \d+ bytes past its end"):
        run("write_at", floats(), 100_000)


def test_any_access_of_an_empty_array() -> None:
    with pytest.raises(LaunchError, match="out-of-bounds write of y, 0 bytes past its end"):
        run("write_at", floats(0), 0, threads=1)


def test_access_before_the_start_with_the_guard_there() -> None:
    with launcher.use_engine(Emulator(guard="start")):
        run("read_at", floats(), floats(), 0)
        with pytest.raises(LaunchError, match=r"read of x, 4 bytes before its start, .*thread \(0,0,0\)"):
            run("read_at", floats(), floats(), -1)
        with pytest.raises(LaunchError, match=r"write of y, 4 bytes before its start, .*thread \(0,0,0\)"):
            run("write_at", floats(), -1)


@pytest.mark.parametrize(("guard", "offset"), [("end", -1), ("start", 1)])
def test_access_on_the_other_side(guard: str, offset: int) -> None:
    with launcher.use_engine(Emulator(guard=guard)):
        y = floats()
        run("read_at", floats(), y, offset)
        assert np.isnan(y).sum() == 1
        with pytest.raises(LaunchError, match="out-of-bounds write beside y"):
            run("write_at", floats(), offset)


def test_access_past_an_array_of_a_table() -> None:
    arrays = [floats(), floats(10), floats()]
    run("table_at", launcher.pointer_table(arrays), 2, 0)
    with pytest.raises(LaunchError, match=r"out-of-bounds write of tables, \d+ bytes past its end"):
        run("table_at", launcher.pointer_table(arrays), 1, 0)
    with pytest.raises(LaunchError, match="out-of-bounds read of tables, 0 bytes past its end"):
        run("table_at", launcher.pointer_table(arrays), 3, 0)


def test_null_pointer() -> None:
    with pytest.raises(LaunchError, match="write through a null pointer"):
        run("write_at", None, 0)


def test_access_past_dynamic_shared_memory() -> None:
    run("dynamic_shared_at", floats(), 0, shared=256)
    with pytest.raises(LaunchError, match="write of shared memory, at byte 256 of the 256 bytes of dynamic"):
        run("dynamic_shared_at", floats(), 1, shared=256)


def test_access_past_a_shared_variable() -> None:
    with pytest.raises(
        LaunchError, match=r"write of shared memory, at byte 512 of the 512 bytes of values, .*\(31,0,0\)"
    ):
        run("fixed_size_at", floats(), 65, threads=32)


def test_too_much_dynamic_shared_memory() -> None:
    with pytest.raises(LaunchError, match="233472 bytes of dynamic shared memory"):
        run("dynamic_shared_at", floats(), 0, shared=228 * 1024)


def test_index_outside_an_array_of_fixed_size() -> None:
    with launcher.use_engine(Emulator(check_bounds=True)):
        run("fixed_size_at", floats(), 0, threads=32)
        with pytest.raises(LaunchError, match=r"index outside an array of fixed size, .*thread \(31,0,0\)"):
            run("fixed_size_at", floats(), 1, threads=32)


def test_vector_load_from_an_array_that_was_not_declared_aligned() -> None:
    run("vector_without_promise", floats(16), floats(16), threads=4)
    with pytest.raises(LaunchError, match="misaligned"):
        run("vector_without_promise", floats(17), floats(17), threads=4)


def test_warp_mask_without_the_caller() -> None:
    run("shuffle", ints(), ALL, 32, 0, threads=32)
    run("shuffle", ints(), 0xFFFF, 16, 0, threads=32)
    with pytest.raises(LaunchError, match=r"mask 0000ffff of bugs.cu:\d+ leaves out the calling lane (16|31|\d+)"):
        run("shuffle", ints(), 0xFFFF, 32, 0, threads=32)


def test_shuffle_from_a_lane_outside_the_mask() -> None:
    with pytest.raises(LaunchError, match="reads lane 20, which mask 0000ffff leaves out"):
        run("shuffle", ints(), 0xFFFF, 16, 20, threads=32)


def test_warp_mask_that_names_lanes_which_have_exited() -> None:
    with pytest.raises(LaunchError, match=r"for lane (30|31) of its warp, but thread \((30|31),0,0\) has finished"):
        run("shuffle", ints(), ALL, 30, 0, threads=32)


def test_warp_mask_that_names_lanes_which_do_not_exist() -> None:
    with pytest.raises(LaunchError, match="names lanes that the warp does not have"):
        run("shuffle", ints(), ALL, 32, 0, threads=20)


def test_lanes_that_disagree_about_the_mask() -> None:
    run("disagree", ints(), 32, threads=32)
    with pytest.raises(LaunchError, match=r"disagree about the mask|leaves out"):
        run("disagree", ints(), 16, threads=32)


def test_lanes_at_different_intrinsics() -> None:
    run("different_intrinsics", ints(), 32, threads=32)
    with pytest.raises(LaunchError, match="wait at different warp intrinsics"):
        run("different_intrinsics", ints(), 16, threads=32)


def test_lanes_that_wait_for_one_that_stands_at_a_barrier() -> None:
    with pytest.raises(
        LaunchError, match=r"waits at a warp intrinsic of bugs.cu:\d+ for lane 0 .*waits at __syncthreads"
    ):
        run("lane_at_barrier", ints(), 1, threads=32)


def test_stack_overflow() -> None:
    run("recursion", ints(), 10, threads=1)
    with pytest.raises(LaunchError, match="stack overflow"):
        run("recursion", ints(), 1000, threads=1)


def test_integer_division_by_zero() -> None:
    with pytest.raises(LaunchError, match="integer division by zero"):
        run("divide", ints(), 0, threads=1)


@pytest.mark.parametrize(
    "bug",
    [
        lambda: run("write_at", floats(), 1),
        lambda: run("shuffle", ints(), 0xFFFF, 16, 20, threads=32),
        lambda: run("early_return", floats(), 63),
    ],
)
def test_bugs_are_found_with_the_portable_fibers_too(bug: Callable[[], None]) -> None:
    with launcher.use_engine(Emulator(ucontext=True)), pytest.raises(LaunchError, match="in block"):
        bug()
    run("write_at", floats(), 0)


def test_messages_of_the_compiler_name_file_and_line() -> None:
    with pytest.raises(CompileError, match=r"broken\.cu:2:.*undeclared_name"):
        launcher.Module(KERNELS / "broken.cu").kernel("broken")[1, 1](floats())


def test_faults_of_python_itself_are_left_alone() -> None:
    """The emulator's signal handlers are installed only during a launch."""
    code = (
        "import signal; from cuda_emulator import Emulator; from minivae.kernels.cuda import launcher;"
        "from pathlib import Path; import ctypes, numpy as np;"
        f"k = launcher.Module(Path({str(KERNELS / 'good.cu')!r})).kernel('is_null');"
        "\nwith launcher.use_engine(Emulator()): k[1, 1](None, np.zeros(1, np.int32))"
        "\nctypes.string_at(0)"
    )
    path = [str(KERNELS.parents[2]), str(KERNELS.parents[1])]
    found = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], check=False)
    assert found.returncode == -11
