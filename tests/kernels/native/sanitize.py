"""Run the tests of the C kernels with the compiler's sanitizers.

    python tests/kernels/native/sanitize.py [address|thread]

`address` builds the kernels with AddressSanitizer and UndefinedBehaviorSanitizer and runs all tests of this folder. It
finds accesses outside of arrays, overflows and misaligned loads. `thread` builds them with ThreadSanitizer, runs the
tests of the thread pool and finds data races. Python itself is not rebuilt; the runtime of the sanitizer is preloaded.
This is not part of the test suite, because it takes minutes and needs a compiler with installed sanitizer runtimes, as
gcc usually has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPILER = os.environ.get("CC", "gcc")
# vla-bound is off because a kernel's parameter `x[n]` may have n = 0, which that check takes for an invalid array.
ADDRESS = "-g -O1 -fsanitize=address,undefined -fno-sanitize=vla-bound -fno-sanitize-recover=all"
THREAD = "-g -O1 -fsanitize=thread"


def run(flags: str, runtimes: list[str], options: dict[str, str], tests: list[Path]) -> int:
    """Run the tests with kernels that are built with these flags and return the exit status."""
    found = [subprocess.check_output([COMPILER, f"-print-file-name={name}"], text=True).strip() for name in runtimes]
    environment = {**os.environ, **options, "CC": COMPILER, "MINIVAE_CFLAGS": flags, "MINIVAE_NUM_THREADS": "3"}
    build = "from minivae.kernels.native.build import build; build()"
    subprocess.run([sys.executable, "-c", build], env=environment, check=True)  # the compiler runs without the preload
    environment["LD_PRELOAD"] = ":".join(found)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", "native", *map(str, tests)]
    return subprocess.run(command, env=environment).returncode


def main() -> int:
    """Run the sanitizers named on the command line, or both; return 0 if all tests pass."""
    chosen = sys.argv[1:] or ["address", "thread"]
    failed = 0
    if "address" in chosen:
        # Python frees some memory only when it ends, so leaks are not checked. Its own allocator would hide errors.
        options = {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
        tests = [test for test in sorted(HERE.glob("test_*.py")) if test.name not in ("test_build.py", "test_pool.py")]
        failed |= run(ADDRESS, ["libasan.so", "libubsan.so"], options, tests)
    if "thread" in chosen:
        options = {"TSAN_OPTIONS": "halt_on_error=1 report_signal_unsafe=0 die_after_fork=0"}
        failed |= run(THREAD, ["libtsan.so"], options, [HERE / "test_pool.py"])
    return failed


if __name__ == "__main__":
    sys.exit(main())
