"""The extras of the package bring what is needed to compile its own kernels and those of CuPy.

The tests that need CuPy take from it the options that it would pass to NVRTC, for which no GPU is needed.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import nvrtc
import pytest
from command_line import succeeded
from fake_cupy import FakeCuPy, install

from minivae.kernels.cuda import installation

ROOT = Path(__file__).parents[3]

# Kernels as CuPy writes them: arithmetic on strided arrays (_core/_kernel.pyx) and a sum with CUB
# (_core/_cub_reduction.pyx).
ELEMENTWISE = """
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
#include <cupy/float16.cuh>
extern "C" __global__ void elementwise(const CArray<float, 2, false, true> x, CArray<float, 2, true, true> y,
                                       CIndexer<2> index) {
  CUPY_FOR(i, index.size()) {
    index.set(i);
    y[index.get()] = sqrt(x[index.get()]);
  }
}
"""
REDUCTION = """
#include <cub/block/block_reduce.cuh>
#include <cub/block/block_load.cuh>
extern "C" __global__ void reduction(const float* x, float* y) {
  typedef cub::BlockReduce<float, 256> Reduce;
  __shared__ typename Reduce::TempStorage storage;
  const float sum = Reduce(storage).Sum(x[threadIdx.x]);
  if (threadIdx.x == 0) *y = sum;
}
"""


def test_the_extras_bring_the_headers() -> None:
    """Without the headers CuPy cannot compile anything; before 14.2 it compiles templates anew in each process."""
    code = "import setuptools; setuptools.setup = lambda **kw: print(kw['extras_require']); import setup"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    extras = ast.literal_eval(printed.stdout)
    oldest = ".".join(map(str, installation.OLDEST_CUPY))
    for major in (12, 13):
        assert extras[f"cuda{major}"] == [f"cupy-cuda{major}x[ctk]>={oldest}"]


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call NVRTC with CuPy's options, which name its headers and those of CUDA."""
    core = pytest.importorskip("cupy._core.core", reason="needs CuPy, a GPU it does not need")
    if installation.headers() is None or nvrtc.library() is None:
        pytest.skip("needs nvidia-cuda-runtime and nvidia-cuda-nvrtc")
    own = (*nvrtc.OPTIONS, *core.assemble_cupy_compiler_options(()))
    monkeypatch.setattr(nvrtc, "OPTIONS", tuple(o for o in own if o != "--std=c++17"))  # giving it twice is an error


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize("file", nvrtc.modules())
def test_every_source_compiles_beside_the_headers(file: str) -> None:
    module, _ = nvrtc.modules()[file]
    first = list(module.signatures)[:1]  # the file is parsed as a whole
    assert nvrtc.compile(module.source, file, first, "sm_90").keys() == set(first)


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(("name", "source"), [("elementwise", ELEMENTWISE), ("reduction", REDUCTION)])
def test_kernels_of_cupy_compile_with_the_headers(name: str, source: str) -> None:
    assert name in nvrtc.compile(source, f"{name}.cu", [name], "sm_90")


def test_cupy_refuses_what_installation_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without headers CuPy raises an error at the first launch, and minivae as soon as the device is used."""
    core = pytest.importorskip("cupy._core.core", reason="needs CuPy, a GPU it does not need")
    code = (
        "from cuda import pathfinder; pathfinder.find_nvidia_header_directory = lambda name: None\n"
        f"import {core.__name__} as core\n"
        "from minivae.kernels.cuda import installation; assert installation.headers() is None\n"
        "try: core.assemble_cupy_compiler_options(())\n"
        "except RuntimeError as error: assert 'CUDA headers' in str(error), error\n"
        "else: raise SystemExit('CuPy does without headers')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


LACKS = [
    (None, "/cuda/include", "needs CuPy: pip install"),
    (
        FakeCuPy(version="13.6.0"),
        "/cuda/include",
        r"CuPy 13\.6\.0 is installed, but 14\.2 or later is needed: pip install",
    ),
    (FakeCuPy(available=False), None, r"CuPy 14\.2\.0 is installed, but finds no GPU"),
    (FakeCuPy(version="15.0.0a1"), None, r"CuPy 15\.0\.0a1 is installed, but finds no CUDA headers, .*: pip install"),
    (FakeCuPy(nvrtc_found=False), "/cuda/include", r"CuPy 14\.2\.0 .* finds no NVRTC, .*: pip install"),
]


@pytest.mark.parametrize(("cupy", "headers", "message"), LACKS)
def test_the_error_says_what_to_install(
    cupy: FakeCuPy | None, headers: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, cupy, headers)
    with pytest.raises(RuntimeError, match=f"^device cuda.* {message}"):
        installation.import_cupy()


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCuPy()
    install(monkeypatch, cupy)
    assert installation.import_cupy() is cupy


@pytest.mark.parametrize(
    ("headers", "line"),
    [("/cuda/include", "NVRTC 13.0, headers in /cuda/include"), (None, "finds no CUDA headers, .* pip install .*")],
)
def test_info_says_whether_kernels_can_be_compiled(
    headers: str | None, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeCuPy(available=False), headers)
    assert re.search(rf"^CUDA +{line}$", succeeded("info").stdout, re.MULTILINE)
