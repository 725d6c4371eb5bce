"""The benchmark of scaling: its model in closed form, its ratios, and processes that take turns."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from benchmarks.scaling import model, page
from benchmarks.scaling.contenders import ROOT, Contender, Team, mpiexec, own

SLOW = model.Network("slow", 1e-3, 1e6)


def test_the_line_of_compute_is_found_and_never_begins_below_zero():
    assert model.fit((32, 64, 128), [2 + 3 * batch for batch in (32, 64, 128)]) == pytest.approx((2, 3))
    assert model.fit((32, 64), (32.0, 65.0)) == pytest.approx((0, (1 + 64 / 65) / (1 + (64 / 65) ** 2)))


@pytest.mark.parametrize("ranks", page.RANKS)
def test_communication_is_what_each_rank_sends(ranks):
    """Two collectives, of ranks - 1 messages each, which are all but the rank's own part of the weights."""
    found = model.communication(ranks, 1000, SLOW)
    assert found == pytest.approx(2 * (ranks - 1) * 1e-3 + 2 * 4 * (1000 - 1000 / ranks) / 1e6)


def test_without_fixed_costs_and_weights_the_model_scales_with_the_ranks():
    nothing = model.Compute(0.0, 1e-3, 1e-9, 0)
    free = model.Network("free", 0.0, 1e9)
    assert page.gains(nothing, free, 128, False) == pytest.approx(page.RANKS)
    assert page.gains(nothing, free, 128, True) == pytest.approx(page.RANKS)


def test_ratios_are_of_one_round_and_say_whether_the_aim_is_reached():
    """The machine is ten times slower in one round: the ratio of the medians would be 20 / 10, or 200 / 1."""
    slow, fast = own(shards=4), own(2, shards=4)
    report = {
        "machine": {"cores": 2},
        "weights": 10,
        "seconds": {slow.name: [18.0, 180.0, 19.0], fast.name: [10.0, 100.0, 1.0]},
        "parts": {},
        "left out": {own(2, shards=2).name: "no mpiexec"},
    }
    of = page.Ratio("two", slow, fast, 1.7)
    assert page.ratio(report, of) == pytest.approx((1.8, 1.8, 10.4))
    text = page.markdown(report, plotted=False)
    assert "| 2 ranks, 4 shards; against 4 shards | 1.80 [1.80, 10.40] | at least 1.7: reached |" in text
    assert "| 2 ranks, 2 shards; against no shards | not measured |  |" in text
    assert f"* left out: {own(2, shards=2).name}: no mpiexec" in text
    report["seconds"][slow.name] = [16.0, 160.0, 1.6]
    assert "| at least 1.7: not reached |" in page.markdown(report, plotted=False)


def test_a_contender_makes_its_steps_turn_by_turn(tmp_path):
    team = Team(own(batch=8, shards=4), tmp_path)
    try:
        assert all(team.turn(2)[0] > 0 for _ in range(2))
    finally:
        team.end()
    assert [process.returncode for process in team._processes] == [0]


def test_a_contender_that_does_not_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="batch_size"):
        Team(Contender("minivae", batch=0), tmp_path)


EXCHANGES = """
import numpy as np
from mpi4py import MPI
import minivae as mv
from benchmarks.scaling.exchange import EXCHANGES
from minivae.data.batches import Batches
from minivae.models import VAE

comm = MPI.COMM_WORLD
x = np.random.default_rng(comm.rank).random((8, 1, 28, 28), np.float32)
found = {}
for name, trainer in EXCHANGES.items():
    mv.manual_seed(0)
    model = VAE(arch="conv", channels=(2, 3), hidden=(7,), latent_dim=3)
    made = trainer(model, mv.optim.SGD(model.parameters(), 0.0), Batches(x, 8), shards=4)
    for _ in range(2):
        mv.manual_seed(0)
        made.step(x, watched=True)
    found[name] = [p.grad.copy() for p in model.parameters()]
mv.manual_seed(0)
for p in model.parameters():
    p.grad = None
for part in (x[:4], x[4:]):
    (model.loss(part).loss * 0.25).backward()
for i, p in enumerate(model.parameters()):
    expected = comm.allreduce(p.grad.astype(np.float64))
    for name, gradients in found.items():
        np.testing.assert_allclose(gradients[i], expected, rtol=1e-4, atol=1e-4, err_msg=name)
"""


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py and an MPI")
def test_all_ways_of_sending_give_the_sum_over_ranks_and_shards():
    command = [mpiexec(), "-n", "2", sys.executable, "-m", "mpi4py", "-c", EXCHANGES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
