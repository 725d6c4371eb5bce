"""The comparison of the VQ-VAE and the VQ-VAE-2: equal time, and bounds whose parts add up."""

import json
import sys
import time

import numpy as np
import pytest

from benchmarks import two_levels


def test_as_many_rows_as_the_time_suffices_for_pass_by_pass(monkeypatch):
    """A clock of 1 ms a row: 0.5 s are 500 rows, two whole passes over 200 and a half of another."""
    clock, seen = [0.0], []

    def fit(rows, **options):
        clock[0] += 1e-3 * len(rows)
        seen.append((rows, options["lr"]))

    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    seconds, count = two_levels.train(fit, 200, 0.5)
    rows, lr = seen[-1]
    assert (seconds, count) == (pytest.approx(0.5), 500)
    assert lr == two_levels.LR
    np.testing.assert_array_equal(np.bincount(rows[:400]), np.full(200, 2))
    assert len(np.unique(rows[400:])) == 100


def test_both_models_leave_bounds_that_add_up(tmp_path, monkeypatch):
    x = np.random.default_rng(0).random((70, 1, 28, 28), np.float32)
    np.savez(tmp_path / "x.npz", x_train=x[:60], x_test=x[60:])
    out = tmp_path / "out.json"
    monkeypatch.setattr(two_levels, "BATCH", 8)
    options = ["--data", tmp_path / "x.npz", "--seconds", 0.01, "--one", 3, "--two", "2x3", "--json", out]
    monkeypatch.setattr(sys, "argv", ["two_levels.py", *map(str, options)])
    two_levels.main()
    one, two = json.loads(out.read_text())
    assert (one["model"], one["codes"], two["model"], two["codes"], two["top_codes"]) == ("VQVAE", 3, "VQVAE2", 2, 3)
    assert one["nats"] == pytest.approx(one["nll"] + one["nats_of_codes"], abs=1e-3)
    assert two["nats"] == pytest.approx(two["nll"] + two["top"] + two["bottom"], abs=1e-3)
