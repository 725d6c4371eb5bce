"""Options of `minivae train` reach the model: what was asked for stands in the files of the run."""

import json

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, succeeded
from strategies import numbers

from minivae.models import load
from minivae.training import load_checkpoint


def train(model, data, out, *options):
    return succeeded("train", model, "--data", data, "--out", out, *QUICK[model], "--epochs", "1", *options)


def layers(sequential):
    """The sizes of the linear layers."""
    return [layer.weight.shape for layer in sequential if hasattr(layer, "weight")]


class TestNetworks:
    @pytest.mark.parametrize("model", ["ae", "dae", "vae"])
    def test_channels_and_hidden(self, model, data, tmp_path):
        train(model, data, tmp_path / "run", "--arch", "conv", "--channels", "3", "5", "--hidden", "7")
        trained = load(tmp_path / "run" / "model.npz")
        assert (trained.arch, trained.channels, trained.hidden) == ("conv", (3, 5), (7,))
        codes = 8 if model == "vae" else 4  # mean and log-variance
        assert layers(trained.encoder) == [(3, 1, 4, 4), (5, 3, 4, 4), (7, 20), (codes, 7)]
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        assert (config["channels"], config["hidden"]) == ([3, 5], [7])

    def test_hidden_without_a_value_is_a_linear_autoencoder(self, data, tmp_path):
        train("ae", data, tmp_path / "run", "--hidden")
        trained = load(tmp_path / "run" / "model.npz")
        assert trained.hidden == ()
        assert layers(trained.encoder) == [(4, 64)]
        assert layers(trained.decoder) == [(64, 4)]

    def test_of_the_commands_that_train_autoencoders_of_their_own(self, data, tmp_path):
        options = ["--data", data, "--epochs", "1", "--hidden", "6", "5", "--out"]
        succeeded("anomaly", "--false-alarms", "0.2", *options, tmp_path / "a")
        assert load(tmp_path / "a" / "model.npz").hidden == (6, 5)
        succeeded("compress-curve", "--dims", "2", *options, tmp_path / "c")
        assert json.loads((tmp_path / "c" / "config.json").read_text())["hidden"] == [6, 5]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--channels", "8"], ["channels", "arch='dense'"]),
            (["--arch", "conv", "--channels"], ["--channels", "at least one"]),
            (["--hidden", "0"], ["--hidden", "at least 1"]),
            (["--arch", "conv", "--channels", "4", "4", "4", "4"], ["too small for 4 convolutions"]),
        ],
    )
    def test_that_cannot_be_built(self, options, words, data, tmp_path):
        refused(minivae_command("train", "ae", "--data", data, "--out", tmp_path / "run", *options), *words)
        assert not (tmp_path / "run").exists()


class TestClipNorm:
    @pytest.mark.parametrize("model", ["ae", "vqvae"])
    def test_reaches_the_training(self, model, data, tmp_path):
        train(model, data, tmp_path / "run", "--clip-norm", "0.25")
        assert load_checkpoint(tmp_path / "run" / "checkpoint.npz")[1]["fit"]["clip_norm"] == 0.25

    def test_of_a_prior(self, runs, data, tmp_path):
        train("vqvae", data, tmp_path / "run")
        succeeded("train", "prior", tmp_path / "run", *QUICK["prior"], "--clip-norm", "2")
        assert load_checkpoint(tmp_path / "run" / "prior_checkpoint.npz")[1]["fit"]["clip_norm"] == 2

    def test_of_compress_curve_changes_its_models(self, data, tmp_path):
        options = ["--data", data, "--epochs", "1", "--dims", "2", "--out"]
        succeeded("compress-curve", *options, tmp_path / "a")
        succeeded("compress-curve", *options, tmp_path / "b", "--clip-norm", "1e-6")
        a, b = (json.loads((tmp_path / name / "results.json").read_text())["ae"][0] for name in "ab")
        assert a["psnr"] != b["psnr"]
        assert a["pca_psnr"] == b["pca_psnr"]

    @pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "much"])
    def test_that_is_none(self, value):
        refused(minivae_command("train", "ae", "--clip-norm", value), "--clip-norm", value)


@pytest.fixture
def flat(tmp_path):
    """Images of 4 x 8 pixels as flat rows."""
    np.save(tmp_path / "flat.npy", numbers(40, 32, low=0, high=1, dtype=np.float32))
    return tmp_path / "flat.npy"


class TestImageShape:
    def test_flat_rows_get_it_and_keep_it(self, flat, tmp_path):
        shape = ["--image-shape", "1", "4", "8"]
        train("vae", flat, tmp_path / "run", *shape)
        assert load(tmp_path / "run" / "model.npz").image_shape == (1, 4, 8)
        printed = train("ae", flat, tmp_path / "ae", *shape).stdout
        assert "(1, 4, 8)" in printed
        assert succeeded("evaluate", tmp_path / "ae").stdout.strip() in printed  # without saying the shape again
        succeeded("reconstruct", tmp_path / "run", "--data", flat)

    def test_a_vqvae_and_its_prior(self, flat, tmp_path):
        train("vqvae", flat, tmp_path / "run", "--image-shape", "1", "4", "8")
        succeeded("train", "prior", tmp_path / "run", *QUICK["prior"])
        assert load(tmp_path / "run" / "prior.npz").map_shape == (1, 2)

    def test_is_asked_for(self, flat, tmp_path):
        refused(minivae_command("train", "ae", "--data", flat, "--out", tmp_path / "r"), "(40, 32)", "--image-shape")

    def test_shapes_are_drawn_in_it(self, tmp_path, monkeypatch):
        monkeypatch.setattr("minivae.data.SHAPES_TRAIN", 50)
        monkeypatch.setattr("minivae.data.SHAPES_TEST", 10)
        train("ae", "shapes", tmp_path / "run", "--image-shape", "1", "16", "16")
        assert load(tmp_path / "run" / "model.npz").image_shape == (1, 16, 16)
        succeeded("evaluate", tmp_path / "run")

    def test_other_images_are_checked_against_it(self, data, flat, tmp_path):
        succeeded("train", "ae", "--data", data, "--out", tmp_path / "a", *QUICK["ae"], "--image-shape", "1", "8", "8")
        for name, shape in ((data, "1 4 16"), (flat, "1 5 5"), ("fashion-mini", "3 28 28")):
            options = ["--data", name, "--out", tmp_path / "b", "--image-shape", *shape.split()]
            refused(minivae_command("train", "ae", *options), shape.replace(" ", ", "))
        assert not (tmp_path / "b").exists()

    def test_a_folder_of_pictures_is_checked_against_it(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        (tmp_path / "pngs").mkdir()
        for i in range(4):
            image.fromarray(np.full((8, 8), 10 * i, np.uint8)).save(tmp_path / "pngs" / f"{i}.png")
        train("ae", tmp_path / "pngs", tmp_path / "run", "--latent-dim", "2", "--image-shape", "1", "8", "8")
        options = ["--data", tmp_path / "pngs", "--out", tmp_path / "b", "--image-shape", "3", "8", "8"]
        refused(minivae_command("train", "ae", *options), "(1, 8, 8)", "(3, 8, 8)")

    @pytest.mark.parametrize("shape", [["8", "8"], ["1", "0", "8"], ["1", "8", "x"]])
    def test_that_is_none(self, shape, flat):
        refused(minivae_command("train", "ae", "--data", flat, "--image-shape", *shape), "--image-shape")
