"""Runs the tests of the C kernels with the compiler's sanitizers.

    python tests/kernels/native/sanitize.py [address|thread]

`address` builds with AddressSanitizer and UndefinedBehaviorSanitizer and runs all tests of this folder: reads and
writes outside of arrays, overflows, misaligned loads. `thread` builds with ThreadSanitizer and runs those of the pool:
data races. Python itself is not built so; the sanitizer's runtime is loaded before it. Not part of the test suite, for
it takes minutes and needs a compiler whose runtimes are installed (gcc's are, as a rule).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPILER = os.environ.get("CC", "gcc")
# A parameter `x[n]` with n = 0 is an array without elements, which C allows to be passed but not to be declared.
ADDRESS = "-g -O1 -fsanitize=address,undefined -fno-sanitize=vla-bound -fno-sanitize-recover=all"
THREAD = "-g -O1 -fsanitize=thread"


def run(flags: str, runtimes: list[str], options: dict[str, str], tests: list[Path]) -> int:
    """The exit status of the tests with kernels that are built with these flags."""
    found = [subprocess.check_output([COMPILER, f"-print-file-name={name}"], text=True).strip() for name in runtimes]
    environment = {**os.environ, **options, "CC": COMPILER, "MINIVAE_CFLAGS": flags, "MINIVAE_NUM_THREADS": "3"}
    build = "from minivae.kernels.native.build import build; build()"
    subprocess.run([sys.executable, "-c", build], env=environment, check=True)  # a compiler is no test
    environment["LD_PRELOAD"] = ":".join(found)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "native", *map(str, tests)]
    return subprocess.run(command, env=environment).returncode


def main() -> int:
    """Both, or the one that is named."""
    chosen = sys.argv[1:] or ["address", "thread"]
    failed = 0
    if "address" in chosen:
        # Python keeps memory until it ends, which is no leak of ours; without its own allocator, more is checked.
        options = {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
        tests = [test for test in sorted(HERE.glob("test_*.py")) if test.name not in ("test_build.py", "test_pool.py")]
        failed |= run(ADDRESS, ["libasan.so", "libubsan.so"], options, tests)
    if "thread" in chosen:
        options = {"TSAN_OPTIONS": "halt_on_error=1 report_signal_unsafe=0 die_after_fork=0"}
        failed |= run(THREAD, ["libtsan.so"], options, [HERE / "test_pool.py"])
    return failed


if __name__ == "__main__":
    sys.exit(main())
