"""Several ranks of mpiexec: what a script sees, how errors end all of them, and how a training goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ranks

import minivae as mv
from minivae.training.ranks import is_first, started
from minivae.training.team import Team
from minivae.training.world import World

SCRIPT = """
import os
import numpy as np
import minivae as mv
from minivae.training.ranks import world

x = np.random.default_rng(0).random((70, 1, 8, 8), dtype=np.float32)
me = world().rank
model = mv.models.VAE((1, 8, 8), 3, arch="dense", hidden=(16,), random_state=1)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def fit(epochs=3, **settings):
    return model.fit(x, epochs=epochs, batch_size=16, validation=x[:30], shards=4, **settings)
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(SCRIPT + text, encoding="utf-8")
    return path


def weights(path: Path) -> dict[str, np.ndarray]:
    return {name: p.numpy() for name, p in mv.models.load(path).named_parameters()}


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def of_one_process() -> dict[str, np.ndarray]:
    names: dict[str, object] = {}
    exec(SCRIPT + "fit(4)", names)
    model: mv.models.VAE = names["model"]  # type: ignore[assignment]
    return {name: p.numpy() for name, p in model.named_parameters()}


def test_a_training_goes_on_with_another_number_of_ranks_bit_by_bit(tmp_path: Path) -> None:
    first = 'fit(4, checkpoint="c.npz", on_epoch=lambda record: record["epoch"] == 2)\nmodel.save(f"m{me}.npz")'
    later = 'fit(4, checkpoint="c.npz", resume=True)\nmodel.save(f"m{me}.npz")'
    for count, text in ((4, first), (2, later)):
        code, _, err = ranks.run(count, script(tmp_path, text), cwd=tmp_path)
        assert (code, err) == (0, "")
    expected = of_one_process()
    for rank in (0, 1):
        assert_equal(weights(tmp_path / f"m{rank}.npz"), expected)


def test_a_training_without_shards_goes_on_in_one_process_alone(tmp_path: Path) -> None:
    """Otherwise each rank would train by itself, and all write the same checkpoint."""
    begin = "model.fit(x, epochs=1, batch_size=16, checkpoint='c.npz', shards=1)"
    assert ranks.run(1, script(tmp_path, begin), cwd=tmp_path)[0] == 0
    before = (tmp_path / "c.npz").read_bytes()
    code, _, err = ranks.run(
        2, script(tmp_path, "model.fit(x, epochs=2, batch_size=16, checkpoint='c.npz', resume=True)"), cwd=tmp_path
    )
    assert code
    assert "goes on in one process, got 2 ranks" in err
    assert (tmp_path / "c.npz").read_bytes() == before


def test_rank_0_alone_writes_and_calls_functions(tmp_path: Path) -> None:
    text = """
best = mv.training.BestCheckpoint(f"best{me}.npz")
fit(checkpoint=f"c{me}.npz", on_epoch=[best, lambda record: say("called by", me)])
say(model.history == world().broadcast(model.history), best.best_epoch)
"""
    code, out, err = ranks.run(2, script(tmp_path, text), cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.count("called by 0") == 3
    assert "called by 1" not in out
    assert out.count("True 3") == 2
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["best0.npz", "c0.npz"]


@pytest.mark.parametrize("module", [(), ("-m", "mpi4py")])
def test_an_exception_on_one_rank_ends_all_and_names_the_rank(tmp_path: Path, module: tuple[str, ...]) -> None:
    text = """
class Broken(mv.models.VAE):
    def loss(self, x):
        if me == 1 and len(self.history) == 1:
            raise ValueError("a broken machine")
        return super().loss(x)
model = Broken((1, 8, 8), 3, arch="dense", hidden=(16,), random_state=1)
fit(10**6, checkpoint="c.npz")
"""
    begun = time.monotonic()
    code, _, err = ranks.run(2, *module, script(tmp_path, text), cwd=tmp_path)
    assert code
    assert time.monotonic() - begun < 30
    assert err.count("ValueError: a broken machine") == 1
    assert "rank 1 of 2" in err
    assert len(mv.training.load_checkpoint(tmp_path / "c.npz")[1]["history"]) == 1


def test_an_error_that_all_ranks_share_is_told_once(tmp_path: Path) -> None:
    code, _, err = ranks.run(4, script(tmp_path, "x[3] = np.nan\nfit()"), cwd=tmp_path)
    assert code
    assert err.count("ValueError: images must be finite") == 1
    assert "rank 0 of 4" in err


def test_an_error_that_all_ranks_share_can_be_caught_and_the_next_fit_works(tmp_path: Path) -> None:
    text = """
try:
    model.fit(x, epochs=2, lr=1e30, batch_size=16)
except FloatingPointError as error:
    say("caught")
fit(1)
say("trained")
"""
    code, out, err = ranks.run(2, script(tmp_path, text), cwd=tmp_path)
    assert not code, err
    assert out.count("caught") == out.count("trained") == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_rank_that_is_killed_ends_all_and_the_checkpoint_stays_good(tmp_path: Path, how: signal.Signals) -> None:
    text = """
open(f"pid{me}", "w").write(str(os.getpid()))
fit(10**6, checkpoint="c.npz")
"""
    process = ranks.start(2, script(tmp_path, text), cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "c.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int((tmp_path / f"pid{rank}").read_text()) for rank in (0, 1)]
    os.kill(pids[1], how) if how == signal.SIGKILL else process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert mv.training.load_checkpoint(tmp_path / "c.npz")[1]["history"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = x * np.float32(1 - 0.1 * me)\nfit()", "all ranks must have the same data"),
        ("mv.models.VAE((1, 8, 8), 2 + me, arch='dense').fit(x, epochs=1)", "all ranks must have the same parameters"),
        ("model.fit(x, epochs=1, shards=3)", "2 ranks cannot share 3 shards"),
        ("model.fit(x, epochs=1, batch_size=3)", "a batch of 3 examples cannot be cut into 4 shards"),
    ],
)
def test_ranks_that_cannot_train_together_say_why(tmp_path: Path, text: str, message: str) -> None:
    code, _, err = ranks.run(2, script(tmp_path, text), cwd=tmp_path)
    assert code
    assert message in err
    assert err.count("Error:") == 1


def test_weights_that_drift_apart_are_noticed(tmp_path: Path) -> None:
    text = """
class Drifting(mv.models.VAE):
    def before_step(self, step, steps):
        if step == 2 and me:
            self.parameters()[0].inplace()[...] += 1e-3
model = Drifting((1, 8, 8), 3, arch="dense", hidden=(16,), random_state=1)
fit()
"""
    code, _, err = ranks.run(2, script(tmp_path, text), cwd=tmp_path)
    assert code
    assert "the ranks have drifted apart" in err


def test_the_ranks_of_a_machine_share_its_cores(tmp_path: Path) -> None:
    text = """
from minivae.kernels.native import library
seen = []
library.set_num_threads = mv.training.mpi.set_num_threads = seen.append
world().share_cores()
say(seen, len(os.sched_getaffinity(0)))
"""
    text = "import minivae.training.mpi\n" + text
    code, out, err = ranks.run(2, script(tmp_path, text), cwd=tmp_path, MINIVAE_CPU="native")
    assert not code, err
    for line in out.splitlines():
        threads, cores = line.rsplit(" ", 1)
        assert threads == f"[{max(1, int(cores) // 2)}]"


def test_the_environment_says_how_many_were_started() -> None:
    assert started({}) is None
    assert started({"SLURM_NTASKS": "4"}) is None
    assert started({"PMI_SIZE": "4", "PMI_RANK": "2"}) == started({"OMPI_COMM_WORLD_SIZE": "4"}) == 4
    assert started({"PMIX_RANK": "0"}) == 0
    assert is_first({})
    assert is_first({"PMI_RANK": "0"})
    assert not is_first({"PMI_RANK": "2"})


@pytest.mark.parametrize("missing", [True, False])
def test_ranks_without_their_mpi_say_what_is_missing(missing: bool) -> None:
    """PMI_SIZE says 4, but there is no mpi4py, or its MPI knows nothing of mpiexec."""
    if not missing:
        ranks.mpiexec()
    block = "import sys; sys.modules['mpi4py'] = None; " if missing else ""
    code = f"{block}from minivae.training.ranks import world; world()"
    expected = "pip install 'minivae[mpi]'" if missing else "sees only one"
    environment = {**os.environ, "PMI_SIZE": "4", "PYTHONPATH": str(ranks.ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert expected in found.stderr


class Of(World):
    def __init__(self, size: int, rank: int = 0) -> None:
        self.size, self.rank = size, rank  # type: ignore[misc]


@pytest.mark.parametrize(("size", "shards"), [(1, 1), (1, 6), (2, 6), (6, 6), (3, 3), (4, 4), (4, 12), (8, 16)])
def test_the_shards_of_all_ranks_are_the_batch(size: int, shards: int) -> None:
    for examples in (shards - 1, shards, 37, 128):
        parts = [Team(Of(size, rank), shards).own(examples) for rank in range(size)]
        if examples < shards or shards == 1:
            assert parts == [slice(0, examples)] * size
        else:
            assert [p.start for p in parts] + [examples] == [0] + [p.stop for p in parts]


@pytest.mark.parametrize(("size", "shards"), [(2, 1), (2, 3), (3, 6), (4, 6), (4, 2)])
def test_ranks_that_are_no_branches_of_the_tree_are_refused(size: int, shards: int) -> None:
    with pytest.raises(ValueError, match=f"{size} ranks cannot share {shards} shards"):
        Team(Of(size), shards)
