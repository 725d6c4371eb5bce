"""Every instance of every kernel compiles for the GPUs in use and stays within its register budget. This needs no GPU.

The more registers a thread uses, the fewer threads run at the same time to hide the latency of memory; a thread that
needs more registers than there are spills values to memory. So every kernel has a budget, REGISTERS, beside its Module,
and none may spill.
"""

from __future__ import annotations

import re
from pathlib import Path

import nvrtc
import pytest

from minivae.kernels import cuda
from minivae.kernels.cuda.launcher import Module

ARCHITECTURES = ["sm_80", "sm_90"]  # A100, H100 and H200
BROKEN = Path(__file__).parents[2] / "cuda_emulator" / "kernels" / "broken.cu"

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="needs NVRTC: pip install 'nvidia-cuda-nvrtc==13.0.*'")


MODULES = nvrtc.modules()


def test_every_source_is_launched_from_somewhere() -> None:
    assert set(MODULES) == {path.name for folder in cuda.__path__ for path in Path(folder).rglob("*.cu")}


@pytest.mark.parametrize("file", MODULES)
def test_every_kernel_has_a_budget(file: str) -> None:
    _, budgets = MODULES[file]
    beside = [module for module, shared in MODULES.values() if shared is budgets]
    assert set(budgets) == {name for module in beside for name in module.declarations}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("file", MODULES)
def test_every_instance_compiles_within_its_budget(file: str, arch: str) -> None:
    module, budgets = MODULES[file]
    usage = nvrtc.compile(module.source, file, list(module.signatures), arch)
    assert len(usage) == len(module.signatures) > 0
    over = {name: used for name, used in usage.items() if used.registers > budgets[name.partition("<")[0]]}
    assert not over, f"more registers than in {budgets}"
    assert not {name: used for name, used in usage.items() if used.spilled}


@pytest.mark.parametrize(
    ("file", "instance", "divisions"),
    [
        ("activation.cu", "bias_relu<float, unsigned>", 0),
        ("matrix.cu", "sum_middle<float>", 0),
        ("norm.cu", "moments<float>", 1),  # of a row by the pixels of a line, where there are several lines
        ("norm.cu", "normalize<float>", 1),
    ],
)
def test_small_kernels_do_not_divide_by_64_bits(file: str, instance: str, divisions: int) -> None:
    """A 64-bit division takes longer than loading the number from memory.

    An unrolled loop contains some divisions if its number of iterations has to be computed.
    """
    assert len(re.findall(r"(?:div|rem)\.[su]64", nvrtc.ptx(MODULES[file][0].source, file, instance))) == divisions


def test_messages_name_file_and_line() -> None:
    module = Module(BROKEN)
    with pytest.raises(nvrtc.CompileError, match=r"broken\.cu\(2\): error: .*undeclared_name"):
        nvrtc.compile(module.source, BROKEN.name, list(module.signatures), "sm_90")


HUNGRY = """
extern "C" __global__ void __launch_bounds__(1024) hungry(float* x, int n) {
    float kept[128];
    #pragma unroll
    for (int i = 0; i < 128; ++i) kept[i] = x[i * n];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < 128; ++i) x[i * n + 1] = kept[i] * kept[(i + 1) % 128];
}
"""


def test_spills_are_seen() -> None:
    """A block of 1024 threads leaves 64 registers for each thread, which has to keep 128 values."""
    used = nvrtc.compile(HUNGRY, "hungry.cu", ["hungry"], "sm_90")["hungry"]
    assert used.registers == 64
    assert used.spilled > 0
