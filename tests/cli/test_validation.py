"""`--validation SHARE`: images that are set aside from those of training, by the seed."""

import json

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, succeeded, table
from hypothesis import given
from hypothesis import strategies as st

from minivae import figures
from minivae.cli.images import set_aside
from minivae.data import Dataset
from minivae.models import load
from minivae.training import evaluate


def dataset(n, labels=True):
    """Images of one pixel, which is their number, as is their label."""
    x = np.arange(n + 5, dtype=np.float32).reshape(-1, 1, 1, 1)
    y = np.arange(n + 5) if labels else None
    parts = (None, None) if y is None else (y[:n], y[n:])
    return Dataset("numbers", x[:n], x[n:], *parts)


class TestSplit:
    @given(n=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=st.integers(0, 2**64 - 1))
    def test_is_a_partition_that_the_seed_decides(self, n, share, seed):
        data = dataset(n)
        count = round(share * n)
        if not 0 < count < n:
            with pytest.raises(ValueError, match="leaves nothing"):
                set_aside(data, share, seed)
            return
        training, x, y = set_aside(data, share, seed)
        assert len(x) == count
        assert sorted([*training.x_train.ravel(), *x.ravel()]) == list(range(n))
        assert (training.x_train.ravel() == training.y_train).all()  # labels stay with their images
        assert (x.ravel() == y).all()
        assert training.x_test is data.x_test
        again = set_aside(data, share, seed)
        np.testing.assert_array_equal(x, again[1])

    def test_other_seeds_draw_others(self):
        draws = {tuple(set_aside(dataset(100), 0.2, seed)[1].ravel()) for seed in range(10)}
        assert len(draws) == 10

    def test_without_a_share_the_test_images_serve(self):
        data = dataset(10)
        training, x, y = set_aside(data, None, 0)
        assert training is data
        assert x is data.x_test
        assert y is data.y_test

    def test_without_labels(self):
        training, _, y = set_aside(dataset(10, labels=False), 0.3, 0)
        assert y is None
        assert training.y_train is None


class TestTraining:
    def test_curves_are_those_of_the_images_set_aside(self, data, tmp_path):
        out = tmp_path / "run"
        options = ["--data", data, "--out", out, *QUICK["ae"], "--validation", "0.25", "--seed", "3"]
        printed = succeeded("train", "ae", *options).stdout
        assert "45 training, 15 validation and 20 test images" in printed
        model, last = load(out / "model.npz"), json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
        with np.load(data) as arrays:
            whole = Dataset("images", arrays["x_train"][:, None], arrays["x_test"][:, None])
        training, x, _ = set_aside(whole, 0.25, 3)
        assert last["validation_loss"] == pytest.approx(evaluate(model, x)["loss"])
        train_row = table(printed)[0]
        assert float(train_row["squared error"]) == pytest.approx(evaluate(model, training.x_train)["loss"], abs=0.01)
        assert succeeded("evaluate", out).stdout.strip() in printed

    @pytest.mark.parametrize(("options", "held_out"), [([], "test"), (["--validation", "0.25"], "validation")])
    def test_the_picture_says_which_images_the_curves_are_of(self, options, held_out, data, tmp_path, monkeypatch):
        drawn = []
        monkeypatch.setattr(figures, "save_training", lambda *args: drawn.append(args[-1]))
        succeeded("train", "ae", "--data", data, "--out", tmp_path / "run", *QUICK["ae"], *options)
        assert drawn == [held_out]

    def test_a_run_with_other_validation_images_is_not_gone_on_with(self, data, tmp_path):
        options = ["train", "ae", "--data", data, "--out", tmp_path / "run", *QUICK["ae"]]
        succeeded(*options, "--validation", "0.25")
        refused(minivae_command(*options, "--validation", "0.5", "--resume"), "--validation was 0.25, not 0.5")
        refused(minivae_command(*options, "--resume"), "--validation was 0.25, not None")
        succeeded(*options, "--validation", "0.25", "--epochs", "3", "--resume")

    def test_of_a_conditional_prior(self, data, tmp_path):
        out = tmp_path / "run"
        succeeded("train", "vqvae", "--data", data, "--out", out, *QUICK["vqvae"], "--validation", "0.25")
        options = [*QUICK["prior"], "--conditional", "--validation", "0.2"]
        assert "36 training, 9 validation and 20 test maps" in succeeded("train", "prior", out, *options).stdout
        succeeded("train", "prior", out, *options, "--epochs", "3", "--resume")

    @pytest.mark.parametrize("share", ["0", "1", "-0.1", "nan", "half"])
    def test_a_share_that_is_none(self, share):
        refused(minivae_command("train", "ae", "--validation", share), "--validation", share)

    def test_a_share_of_no_images(self, data, tmp_path):
        options = ["--data", data, "--out", tmp_path / "run", "--validation", "0.001"]
        refused(minivae_command("train", "ae", *options), "0.001", "60 training images")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("config", ['"validation": "many"', '"validation": 2', '"validation": 0.5, "seed": "x"'])
    def test_options_of_a_run_that_are_none(self, config, runs, data, tmp_path):
        (tmp_path / "model.npz").write_bytes((runs("ae")[0] / "model.npz").read_bytes())
        (tmp_path / "config.json").write_text(f'{{"data": {json.dumps(str(data))}, {config}}}')
        refused(minivae_command("evaluate", tmp_path), "must be")
