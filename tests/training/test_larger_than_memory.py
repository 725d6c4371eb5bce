"""A process that may not allocate as much as a .npy file holds trains on it, by the library and by the command line."""

import os
import subprocess
import sys

import numpy as np
import pytest

BY_THE_LIBRARY = """
import numpy as np, minivae as mv
x = np.load(sys.argv[1], mmap_mode="r")
model = mv.models.Autoencoder((1, 128, 128), 1, hidden=(), epochs=1, batch_size=32)
model.fit(x, validation=x, checkpoint=sys.argv[2])
loss = mv.training.evaluate(model, model.check_images(x))["loss"]
assert loss == model.history[0]["validation_loss"] and np.isclose(-model.score(x), loss)
"""
BY_THE_COMMAND_LINE = """
from minivae.cli import main
sys.exit(main(sys.argv[1:]))
"""
LINEAR = ("--hidden", "--latent-dim", "1", "--epochs", "1", "--batch-size", "32")


def run_within(limit, code, *args):
    """Run code in a process that may allocate `limit` bytes, not counting mapped files; fail with what it wrote."""
    start = f"import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, ({limit}, {limit})); "
    settings = {"OPENBLAS_NUM_THREADS": "1", "MINIVAE_CPU": "reference"}  # threads and a compiler need memory too
    command = [sys.executable, "-c", start + code, *map(str, args)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def larger_file(path, limit, dtype):
    """Make a .npy file of images (1, 128, 128) of zeros with more bytes than `limit`, which takes no disk space."""
    count = limit // (128 * 128 * np.dtype(dtype).itemsize) + 1
    np.lib.format.open_memmap(path, "w+", dtype, (count, 1, 128, 128)).flush()
    assert path.stat().st_size > limit
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits what is allocated on Linux only")
class TestLargerThanMemory:
    def test_the_library_trains_on_a_mapped_file(self, tmp_path):
        limit = 256 << 20
        path = larger_file(tmp_path / "x.npy", limit, np.float64)
        run_within(limit, BY_THE_LIBRARY, path, tmp_path / "checkpoint.npz")

    def test_the_command_line_trains_on_a_file(self, tmp_path):
        limit = 448 << 20
        path = larger_file(tmp_path / "x.npy", limit, np.float32)
        out = run_within(limit, BY_THE_COMMAND_LINE, "train", "ae", "--data", path, "--out", tmp_path / "run", *LINEAR)
        assert "256 of 6,453 training and 256 of 716 test images, at even distances, stand for all" in out
        assert (tmp_path / "run" / "model.npz").is_file()
