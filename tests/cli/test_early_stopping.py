"""`--patience N` stops a training on its validation images and leaves the weights of the best epoch."""

import json
import shutil

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, same_models, succeeded

from minivae.cli import training
from minivae.cli.images import set_aside
from minivae.data import Dataset
from minivae.models import load
from minivae.training import evaluate
from minivae.training.progress import Lines

OPTIONS = ["--batch-size", "16", "--latent-dim", "4", "--validation", "0.25"]
STOPS = [*OPTIONS, "--lr", "0.02", "--epochs", "40", "--patience", "2"]  # noise is learned by heart after some epochs


def losses(out, prefix=""):
    lines = (out / f"{prefix}metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["validation_loss"] for line in lines]


def validation_images(data):
    with np.load(data) as arrays:
        return set_aside(Dataset("", arrays["x_train"][:, None], arrays["x_test"][:, None]), 0.25, 0)[1]


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """A run that was stopped, and what it printed."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    return out, succeeded("train", "ae", "--data", data, "--out", out, *STOPS)


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(e): Ctrl-C is pressed when epoch e begins."""

    def at(epoch):
        class Interrupting(Lines):
            def start_epoch(self, current, epochs, steps):
                if current == epoch:
                    monkeypatch.undo()
                    raise KeyboardInterrupt
                super().start_epoch(current, epochs, steps)

        monkeypatch.setattr(training, "progress_for", Interrupting)

    return at


def test_the_weights_are_those_of_the_best_epoch(stopped, data):
    out, printed = stopped
    seen, model = losses(out), load(out / "model.npz")
    best = int(np.argmin(seen)) + 1
    assert 1 < best == len(seen) - 2 < 38  # stopped two epochs after the best
    assert evaluate(model, validation_images(data))["loss"] == pytest.approx(min(seen), rel=1e-6)
    assert f"stopped after epoch {len(seen)}; the weights are those of epoch {best}\n" in printed.stdout
    results = json.loads((out / "results.json").read_text())
    assert (results["epochs"], results["best_epoch"]) == (len(seen), best)
    assert json.loads((out / "config.json").read_text())["patience"] == 2
    assert succeeded("evaluate", out).stdout.strip() in printed.stdout


def test_to_the_last_epoch_it_restores_the_best_one_too(data, tmp_path):
    out = tmp_path / "run"
    options = [*STOPS, "--epochs", "12", "--patience", "50"]
    printed = succeeded("train", "ae", "--data", data, "--out", out, *options).stdout
    seen = losses(out)
    best = int(np.argmin(seen)) + 1
    assert len(seen) == 12 > best
    assert f"trained for 12 epochs; the weights are those of epoch {best}\n" in printed
    assert evaluate(load(out / "model.npz"), validation_images(data))["loss"] == pytest.approx(min(seen), rel=1e-6)


@pytest.mark.parametrize("back", [0, 1, 2])
def test_interrupted_and_resumed_it_is_the_same(back, stopped, data, tmp_path, interrupt):
    """Before the best epoch, after it, and with one epoch to go until it stops."""
    whole, printed = stopped
    seen, out = losses(whole), tmp_path / "run"
    interrupt(len(seen) - back)
    args = ["train", "ae", "--data", data, "--out", out, *STOPS]
    assert minivae_command(*args).returncode == 130
    done = losses(out)
    assert done == seen[: len(seen) - back - 1]
    in_file = evaluate(load(out / "model.npz"), validation_images(data))["loss"]
    assert in_file == pytest.approx(min(done), rel=1e-6)  # the best so far
    again = succeeded(*args, "--resume").stdout
    assert losses(out) == seen
    same_models(out / "model.npz", whole / "model.npz")
    words = [line for line in printed.stdout.splitlines() if "the weights are" in line]
    assert words[0] in again.splitlines()


def test_resumed_when_it_has_stopped_it_stays_as_it_is(stopped, data, tmp_path):
    out = shutil.copytree(stopped[0], tmp_path / "run")
    for more in ([], ["--epochs", "60"]):
        result = succeeded("train", "ae", "--data", data, "--out", out, *STOPS, *more, "--resume")
        assert f"stopped after epoch {len(losses(out))}; the weights" in result.stdout
        assert "epoch " not in result.stderr
        assert losses(out) == losses(stopped[0])
        same_models(out / "model.npz", stopped[0] / "model.npz")


def test_other_patience_is_another_training(stopped, data, tmp_path):
    out = shutil.copytree(stopped[0], tmp_path / "run")
    args = ["train", "ae", "--data", data, "--out", out, *STOPS, "--resume"]
    refused(minivae_command(*args, "--patience", "3"), "--patience was 2, not 3")


def test_of_a_vqvae_and_its_prior(data, tmp_path):
    out, options = tmp_path / "run", ["--validation", "0.25", "--patience", "1", "--lr", "0.02", "--epochs", "30"]
    for command, prefix in ((["vqvae", "--data", data, "--out", out], ""), (["prior", out], "prior_")):
        result = succeeded("train", *command, *QUICK[command[0]], *options)
        seen = losses(out, prefix)
        assert len(seen) < 30
        assert f"stopped after epoch {len(seen)}; the weights are those of epoch {len(seen) - 1}" in result.stdout
    assert load(out / "prior.npz").codebook_digest == load(out / "model.npz").codebook_digest


def test_the_test_images_stop_nothing(data, tmp_path):
    result = minivae_command("train", "ae", "--data", data, "--out", tmp_path / "run", "--patience", "3")
    refused(result, "--patience needs --validation", "test images")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["0", "-1", "2.5"])
def test_a_patience_that_is_none(value):
    refused(minivae_command("train", "ae", "--validation", "0.1", "--patience", value), "--patience", value)
