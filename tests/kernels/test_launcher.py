"""The typed launcher: what it reads from a source, what it checks, and what it passes to the engine.

These tests need no compiler.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.launcher import LaunchError, Module, ceil_div
from minivae.kernels.cuda.signature import Signature

SOURCE = """
#include "shapes.cuh"
/* template <typename T> __global__ void commented_out(T x) {} */
#define THREADS 96
constexpr int WARPS = THREADS / 32;
using Index = long long;
typedef unsigned int Word;

template <typename T, int ROWS, bool ADD = false>
__global__ void __launch_bounds__(ROWS * WARPS, 2) scale(const T* __restrict__ x, T* ALIGNED(16) y, Index n, T by) {
  if (n > 0) { y[0] = x[0] * by; }
}

extern "C" __global__ void plain(const float4* v, Word w, bool flag, const unsigned char* bytes, Shape shape) {}

template <typename T> __launch_bounds__(64) __global__
void tables(T* const* to, const double* const* from, int n /* , not this one */) {}
"""
HEADER = "#pragma once\nstruct Shape {\n  int N, C;  // sizes\n  double scale;\n};\n"


class Recorder:
    """An engine that compiles nothing and records the launches."""

    array_type = np.ndarray

    def __init__(self) -> None:
        self.launches: list[tuple[Any, ...]] = []
        self.compiled: list[list[str]] = []
        self.error: RuntimeError | None = None

    def compile(self, source: str, signatures: Mapping[str, Signature]) -> Callable[[str], str]:
        self.compiled.append(list(signatures))
        return lambda name: name

    def launch(self, function: Any, grid: Any, block: Any, arguments: Sequence[Any], shared: int) -> None:
        self.launches.append((function, grid, block, list(arguments), shared))

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def check_device(self, array: Any) -> None:
        if array.size == 13:
            raise ValueError("the array is on device 1")

    def upload(self, array: Any) -> Any:
        return array.copy()

    def synchronize(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def engine() -> Iterator[Recorder]:
    with launcher.use_engine(Recorder()) as recorder:
        yield recorder  # type: ignore[misc]


@pytest.fixture
def module(tmp_path: Path) -> Module:
    (tmp_path / "kernels.cu").write_text(SOURCE)
    (tmp_path / "shapes.cuh").write_text(HEADER)
    return Module(tmp_path / "kernels.cu", {"scale": [("float", 8), ("double", 16, True)]})


def aligned(n: int, dtype: str = "float32") -> np.ndarray:
    """n numbers at an address that is a multiple of 16 bytes."""
    buffer = np.zeros(n + 16, dtype)
    start = -buffer.ctypes.data % 16 // buffer.itemsize
    return buffer[start : start + n]


# ---- what is read from the source ----


def test_instances_of_a_module(module: Module) -> None:
    assert list(module.signatures) == [
        "scale<float, 8, false>",
        "scale<double, 16, true>",
        "plain",
        "tables<float>",
        "tables<double>",
    ]


def test_parameters_follow_the_template_arguments(module: Module) -> None:
    for dtype, rows, add in (("float32", 8, False), ("float64", 16, True)):
        signature = module.kernel("scale", np.dtype(dtype), rows, add).signature
        x, y, n, by = signature.parameters
        assert [p.name for p in signature.parameters] == ["x", "y", "n", "by"]
        assert [p.dtype for p in (x, y, n, by)] == [dtype, dtype, "int64", dtype]  # type: ignore[union-attr]
        assert (x.const, y.const) == (True, False)  # type: ignore[union-attr]
        assert (x.alignment, y.alignment) == (np.dtype(dtype).itemsize, 16)  # type: ignore[union-attr]
        assert signature.max_threads == rows * 3


def test_types_by_name_or_as_dtype_are_one_kernel(module: Module) -> None:
    name = module.kernel("scale", "float", 8).name
    assert name == module.kernel("scale", np.float32, 8).name == module.kernel("scale", np.dtype("f4"), 8, False).name


def test_headers_are_expanded_once_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "b.cuh").write_text("int b;\n")
    (tmp_path / "a.cuh").write_text('#include "b.cuh"\nint a;\n')
    (tmp_path / "k.cu").write_text('int first;\n#include "a.cuh"\n  #  include "b.cuh"\nint last;\n')
    lines = Module(tmp_path / "k.cu").source.splitlines()
    where, seen = ("", 0), {}
    for line in lines[1:]:  # the first one defines ALIGNED
        if line.startswith("#line"):
            _, number, file = line.split()
            where = file.strip('"'), int(number)
        else:
            assert line not in seen
            seen[line] = where
            where = where[0], where[1] + 1
    expected = {"int first;": ("k.cu", 1), "int b;": ("b.cuh", 1), "int a;": ("a.cuh", 2), "int last;": ("k.cu", 4)}
    assert seen == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("#include <cuda.h>\n", ValueError, "k.cu:1: only own headers"),
        ('\n#include "none.cuh"\n', FileNotFoundError, "k.cu:2: there is no header 'none.cuh'"),
        ("__global__ void k(std::pair x) {}", ValueError, "cannot read the parameter 'std::pair x'"),
        ("__global__ void k(half x) {}", ValueError, "kernel k: unknown type 'half'"),
        ("__global__ void k(long x) {}", ValueError, "kernel k: unknown type 'long'"),
        ("__global__ void k(float& x) {}", ValueError, "cannot read the parameter 'float& x'"),
        ("__global__ int k(float x) {}", ValueError, "cannot read this kernel"),
        ("__global__ void __launch_bounds__(N) k(int x) {}", ValueError, "cannot evaluate 'N'"),
        ("template <int N> __global__ void k(int x) {}", ValueError, "instances of the template k must be listed"),
        ("template <class T, class U> __global__ void k(T x) {}", ValueError, "instances of the template k must be"),
        ("struct S { int* p; };\n__global__ void k(S s) {}", ValueError, "struct S: cannot read the members"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    (tmp_path / "k.cu").write_text(text)
    with pytest.raises(error, match=message):
        _ = Module(tmp_path / "k.cu").signatures


def test_the_error_for_a_kernel_that_does_not_exist(module: Module, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no kernel 'commented_out'"):
        module.kernel("commented_out", "float")
    with pytest.raises(KeyError, match="scale<float, 9, false> is none of the instances"):
        module.kernel("scale", "float", 9)
    with pytest.raises(TypeError, match="template parameters <T, ROWS, ADD>"):
        module.kernel("scale", "float")
    with pytest.raises(TypeError, match="T is a type"):
        module.kernel("scale", 8, "float")
    with pytest.raises(TypeError, match="ROWS is an integer"):
        module.kernel("scale", "float", 8.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"has no kernel \['skale'\]"):
        _ = Module(tmp_path / "kernels.cu", {"skale": [("float",)]}).signatures


# ---- what is passed to the engine ----


def test_a_launch(module: Module, engine: Recorder) -> None:
    x, y = aligned(4), aligned(4)
    module.kernel("scale", "float", 8)[(2, 3), 24, 512](x, y, 4, 2)
    [(function, grid, block, arguments, shared)] = engine.launches
    assert (function, grid, block, shared) == ("scale<float, 8, false>", (2, 3, 1), (24, 1, 1), 512)
    assert arguments[0] is x
    assert arguments[1] is y
    assert [type(a) for a in arguments[2:]] == [np.int64, np.float32]


def test_a_module_is_compiled_once_per_engine(module: Module, engine: Recorder) -> None:
    for _ in range(2):
        for name in ("float", "double"):
            tables = (launcher.pointer_table([aligned(2, t)]) for t in (name.replace("float", "float32"), "float64"))
            module.kernel("tables", name)[1, 1](*tables, 1)
    assert engine.compiled == [list(module.signatures)]
    with launcher.use_engine(Recorder()) as other:
        module.kernel("scale", "float", 8)[1, 1](None, None, 0, 0)
    assert len(other.launches) == 1  # type: ignore[attr-defined]
    assert len(engine.launches) == 4


def test_an_empty_grid_launches_nothing_but_is_checked(module: Module, engine: Recorder) -> None:
    module.kernel("scale", "float", 8)[(ceil_div(0, 24), 5), 24](aligned(0), aligned(0), 0, 1)
    assert engine.launches == []
    with pytest.raises(TypeError, match="takes 4 arguments"):
        module.kernel("scale", "float", 8)[0, 24](aligned(0))


def test_structs_have_the_layout_of_c(module: Module, engine: Recorder) -> None:
    shape = {"C": 3, "N": 2**31 - 1, "scale": 0.5}
    module.kernel("plain")[1, 1](None, 2**32 - 1, np.True_, np.zeros(3, np.uint8), shape)
    arguments = engine.launches[0][3]
    assert [type(a) for a in arguments[1:3]] == [np.uint32, np.bool_]
    packed = np.array([2**31 - 1, 3], np.int32).tobytes() + np.float64(0.5).tobytes()
    assert arguments[4].tobytes() == packed


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({0: [1.0]}, TypeError, "argument 0, x: expected numpy.ndarray or None, got builtins.list"),
        ({0: np.zeros(4)}, TypeError, "argument 0, x: expected an array of float32, got float64"),
        ({0: np.zeros((4, 4), "f4").T}, ValueError, r"C-contiguous array, got shape \(4, 4\) with strides \(4, 16\)"),
        ({0: np.zeros(8, "f4")[::2]}, ValueError, "C-contiguous"),
        ({0: np.zeros(13, "f4")}, ValueError, "argument 0, x: the array is on device 1"),
        ({1: aligned(5)[1:]}, ValueError, "argument 1, y: expected an address that is a multiple of 16"),
        ({1: np.broadcast_to(aligned(4), (4,))}, ValueError, "argument 1, y: the kernel writes here"),
        ({2: 2**63}, ValueError, "argument 2, n: 9223372036854775808 does not fit into int64"),
        ({2: 1.0}, TypeError, "argument 2, n: expected an integer for int64, got builtins.float: 1.0"),
        ({3: 1e39}, ValueError, "argument 3, by: 1e[+]39 does not fit into float32"),
        ({3: "1"}, TypeError, "argument 3, by: expected a number for float32"),
        ({3: np.ones(1)}, TypeError, "argument 3, by: expected a number for float32"),
        ({3: True}, TypeError, "argument 3, by: expected a number for float32"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    module: Module, engine: Recorder, change: dict[int, Any], error: type[Exception], message: str
) -> None:
    arguments = [aligned(4), aligned(4), 4, 2.0]
    kernel = module.kernel("scale", "float", 8)
    kernel[1, 1](*arguments)
    for i, value in change.items():
        arguments[i] = value
    with pytest.raises(error, match=f"scale<float, 8, false>: .*{message}"):
        kernel[1, 1](*arguments)
    assert len(engine.launches) == 1


def test_read_only_arrays_are_for_const_pointers(module: Module, engine: Recorder) -> None:
    x = aligned(4)
    x.flags.writeable = False
    module.kernel("scale", "float", 8)[1, 1](x, aligned(4), 4, 1)
    with pytest.raises(ValueError, match="read-only"):
        module.kernel("scale", "float", 8)[1, 1](aligned(4), x, 4, 1)


def test_numbers_at_the_edges_of_their_types(module: Module, engine: Recorder) -> None:
    kernel = module.kernel("scale", "float", 8)
    kernel[1, 1](None, None, -(2**63), float("inf"))
    kernel[1, 1](None, None, np.int64(2**63 - 1), float(np.finfo("f4").max))
    assert [launch[3][2:] for launch in engine.launches] == [[-(2**63), np.inf], [2**63 - 1, np.finfo("f4").max]]
    shape = {"N": 1, "C": 1, "scale": 1}
    for word in (-1, 2**32):
        with pytest.raises(ValueError, match=f"argument 1, w: {word} does not fit into uint32"):
            module.kernel("plain")[1, 1](None, word, False, None, shape)
    with pytest.raises(TypeError, match="argument 2, flag: expected a bool"):
        module.kernel("plain")[1, 1](None, 0, 1, None, shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"N": 1, "C": 1}, r"exactly the keys \['N', 'C', 'scale'\], got \['C', 'N'\]"),
        ({"N": 1, "C": 1, "scale": 1, "D": 1}, "exactly the keys"),
        ((1, 1, 1), "got builtins.tuple"),
        ({"N": 1.5, "C": 1, "scale": 1}, "argument 4, shape: member N: expected an integer"),
    ],
)
def test_structs_with_the_wrong_members(module: Module, engine: Recorder, shape: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        module.kernel("plain")[1, 1](None, 0, False, None, shape)


def test_vector_pointers_take_arrays_of_their_numbers(module: Module, engine: Recorder) -> None:
    rest = 0, False, None, {"N": 1, "C": 1, "scale": 1}
    module.kernel("plain")[1, 1](aligned(8), *rest)
    with pytest.raises(ValueError, match="argument 0, v: expected an address that is a multiple of 16"):
        module.kernel("plain")[1, 1](aligned(9)[1:], *rest)


def test_tables_of_pointers(module: Module, engine: Recorder) -> None:
    to, frm = [aligned(3), aligned(0), aligned(5)], [np.zeros(2)]
    table, other = launcher.pointer_table(to), launcher.pointer_table(frm)
    assert np.array_equal(table.addresses, [a.ctypes.data for a in to])
    kernel = module.kernel("tables", "float")
    kernel[1, 64](table, other, 3)
    with pytest.raises(TypeError, match="argument 1, from: array 0 of the table: expected an array of float64"):
        kernel[1, 64](table, table, 3)
    with pytest.raises(TypeError, match="argument 0, to: expected a PointerTable"):
        kernel[1, 64](to, other, 3)
    to[0].flags.writeable = False
    with pytest.raises(ValueError, match="array 0 of the table: the kernel writes here"):
        kernel[1, 64](table, other, 3)


@pytest.mark.parametrize(
    ("configuration", "error", "message"),
    [
        ((1, 25), ValueError, "a block of 25 threads, at most 24 are allowed"),
        ((1, (2, 13)), ValueError, "a block of 26 threads"),
        ((1, 0), ValueError, "block must lie between 1 and"),
        ((-1, 1), ValueError, "grid must lie between 0 and"),
        (((1, 65536), 1), ValueError, "grid must lie between 0 and"),
        ((1, (1, 1, 65)), ValueError, "block must lie between"),
        ((1.0, 2), TypeError, "grid must be an int"),
        (((1, 1, 1, 1), 1), TypeError, "grid must be an int or up to three ints"),
        ((1, 1, -4), ValueError, "shared memory must be a number of bytes"),
        (1, TypeError, r"expected kernel\[grid, block\]"),
    ],
)
def test_impossible_grids_and_blocks_are_refused(
    module: Module, configuration: Any, error: type[Exception], message: str
) -> None:
    kernel = module.kernel("scale", "float", 8)
    assert callable(kernel[(2**31 - 1, 65535, 65535), (2, 3, 4)])
    with pytest.raises(error, match=f"scale<float, 8, false>: {message}"):
        kernel[configuration]


def test_debug_mode_names_the_kernel_of_an_error(
    module: Module, engine: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.error = RuntimeError("an illegal memory access was encountered")
    monkeypatch.delenv("MINIVAE_CUDA_DEBUG", raising=False)
    module.kernel("scale", "float", 8)[2, 24](None, None, 0, 0)
    monkeypatch.setenv("MINIVAE_CUDA_DEBUG", "1")
    with pytest.raises(LaunchError, match=r"scale<float, 8, false> <<<\(2, 1, 1\), .* an illegal memory access"):
        module.kernel("scale", "float", 8)[2, 24](None, None, 0, 0)


def test_importing_needs_no_cupy_and_asking_for_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cupy'] = None\n"
        "import minivae; assert 'minivae.kernels.cuda' not in sys.modules\n"
        "from minivae.kernels.cuda import launcher\n"
        "try: launcher.engine()\n"
        "except RuntimeError as error: assert 'pip install' in str(error), error\n"
        "else: raise SystemExit('no error')\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
