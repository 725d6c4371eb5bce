"""A process that may not allocate as much as a .npy file holds trains on it, by the library and by the command line."""

import os
import subprocess
import sys

import numpy as np
import pytest


LIMIT = 240 << 20  # bytes that the process may allocate; file mappings do not count
LIMITED = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({LIMIT}, {LIMIT})); "
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


def run_with_little_memory(code, *args):
    """Run code in a process with a limit of LIMIT bytes; the test fails with what the process wrote if it fails."""
    command = [sys.executable, "-c", f"import sys; {LIMITED}{code}", *map(str, args)]
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "MINIVAE_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **one_thread}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def sparse_file(path, dtype, count):
    """Make a .npy file of `count` images (1, 128, 128) of zeros that is larger than LIMIT and takes no disk space."""
    np.lib.format.open_memmap(path, "w+", dtype, (count, 1, 128, 128)).flush()
    assert path.stat().st_size > LIMIT
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits allocations on Linux only")
class TestLargerThanTheLimit:
    @pytest.mark.parametrize(("dtype", "count"), [(np.float64, 2000)])
    def test_the_library_trains_on_a_mapped_file(self, tmp_path, dtype, count):
        path = sparse_file(tmp_path / "x.npy", dtype, count)
        run_with_little_memory(BY_THE_LIBRARY, path, tmp_path / "checkpoint.npz")

    def test_the_command_line_trains_on_a_file(self, tmp_path):
        path = sparse_file(tmp_path / "x.npy", np.float32, 4200)
        options = "train", "ae", "--data", path, "--out", tmp_path / "run", *LINEAR
        run_with_little_memory(BY_THE_COMMAND_LINE, *options)
        assert (tmp_path / "run" / "model.npz").is_file()

    def test_the_command_line_trains_on_a_folder_of_shards(self, tmp_path):
        folder = tmp_path / "shards"
        folder.mkdir()
        for shard in range(3):
            np.lib.format.open_memmap(folder / f"x-{shard}.npy", "w+", np.float32, (1400, 1, 128, 128)).flush()
        options = "train", "ae", "--data", folder, "--out", tmp_path / "run", *LINEAR
        run_with_little_memory(BY_THE_COMMAND_LINE, *options)
        assert (tmp_path / "run" / "model.npz").is_file()
