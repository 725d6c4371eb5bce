"""`minivae train cvae` and `minivae train vae --iwae`: tables, pictures, samples of a class, labels that do not fit."""

import json

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table
from strategies import numbers

from minivae.models import IWAE, ConditionalVAE, load
from minivae.training import evaluate


def with_labels(path, y_train, y_test, **others):
    """A file of 8 x 8 images with these labels."""
    x = numbers(len(y_train) + len(y_test), 8, 8, low=0, high=1, dtype=np.float32)
    np.savez(path, x_train=x[: len(y_train)], x_test=x[len(y_train) :], y_train=y_train, y_test=y_test, **others)
    return path


class TestCVAE:
    def test_the_table_is_that_of_the_model(self, runs, data):
        out, done = runs("cvae")
        model, results = load(out / "model.npz"), json.loads((out / "results.json").read_text())
        assert isinstance(model, ConditionalVAE)
        assert model.classes == 3
        np.testing.assert_array_equal(model.class_counts.numpy(), [20, 20, 20])
        with np.load(data) as file:
            x, y = file["x_test"][:, None], file["y_test"]
        terms = evaluate(model, x, y)
        row = table(done.stdout)[1]
        assert float(row["ELBO"]) == pytest.approx(-terms["nll"] - terms["kl"], abs=0.01)
        accuracy = (model.classify(x, 10) == y).mean()
        assert results["accuracy"] == pytest.approx(accuracy)
        assert f"argmax_y p(x, y) is the class of {accuracy:.1%} of them" in done.stdout
        judged = results["wholeness"]
        assert set(judged) == {"test images", "their reconstructions", "samples"}
        assert all(0 <= shares["of_class"] <= 1 for shares in judged.values())
        assert table(done.stdout, "images")[2]["of their class"] == f"{judged['samples']['of_class']:.1%}"

    def test_evaluate_prints_the_table_again(self, runs, tmp_path):
        out, done = runs("cvae")
        again = succeeded("evaluate", out, "--samples", 5, "--images", 4, "--out", tmp_path / "numbers.json")
        assert table(again.stdout) == table(done.stdout)
        assert table(again.stdout, "images") == table(done.stdout, "images")
        assert json.loads((tmp_path / "numbers.json").read_text())["samples"] == 5

    def test_pictures(self, runs):
        out, _ = runs("cvae")
        for name in ("reconstructions", "samples", "analogies", "latent", "training"):
            assert is_picture(out / f"{name}.png")

    def test_samples_of_a_class(self, runs, tmp_path):
        out, _ = runs("cvae")
        paths = [tmp_path / f"{name}.png" for name in ("all", "one", "other")]
        for path, label in zip(paths, ([], ["--label", 1], ["--label", 2]), strict=True):
            succeeded("sample", out, "-n", 6, "--out", path, *label)
            assert is_picture(path)
        assert len({path.read_bytes() for path in paths}) == 3
        succeeded("reconstruct", out, "-n", 4, "--out", tmp_path / "reconstructions.png")

    def test_labels_out_of_range_are_refused(self, runs, tmp_path):
        out, _ = runs("cvae")
        path = tmp_path / "samples.png"
        refused(minivae_command("sample", out, "--label", 3, "--out", path), "labels must be in [0, 3), got 3 to 3")
        refused(minivae_command("sample", out, "--temperature", 1, "--out", path), "no use for --temperature")
        assert not path.exists()

    def test_other_data_must_have_its_labels(self, runs, tmp_path):
        out, _ = runs("cvae")
        more = with_labels(tmp_path / "more.npz", np.arange(8) % 5, np.arange(8) % 5)
        refused(minivae_command("evaluate", out, "--data", more), "must be in [0, 3), got 0 to 4")
        np.save(tmp_path / "none.npy", numbers(9, 8, 8, low=0, high=1, dtype=np.float32))
        for command in ("evaluate", "reconstruct"):
            refused(minivae_command(command, out, "--data", tmp_path / "none.npy"), "needs a label for each image")

    @pytest.mark.parametrize("command", ["interpolate", "traverse", "manifold"])
    def test_commands_that_know_of_no_labels(self, runs, command):
        out, _ = runs("cvae")
        refused(minivae_command(command, out), f"{command} is for a VAE without labels")

    @pytest.mark.parametrize(
        ("y_train", "y_test", "message"),
        [
            (np.arange(20) % 3, np.arange(5), "test images have labels [3, 4], of which there is no training image"),
            (np.arange(20) % 3 - 1, np.arange(5) % 3 - 1, "labels must be at least 0, got -1"),
            (np.linspace(0, 1, 20), np.zeros(5), "labels"),
        ],
        ids=["unseen", "negative", "not integer"],
    )
    def test_labels_that_do_not_fit(self, tmp_path, y_train, y_test, message):
        path = with_labels(tmp_path / "images.npz", y_train, y_test)
        out = tmp_path / "run"
        refused(minivae_command("train", "cvae", "--data", path, "--out", out, *QUICK["cvae"]), message)
        assert not (out / "config.json").exists()

    def test_images_without_labels(self, tmp_path):
        np.save(tmp_path / "images.npy", numbers(20, 8, 8, low=0, high=1, dtype=np.float32))
        command = ("train", "cvae", "--data", tmp_path / "images.npy", "--out", tmp_path / "run", *QUICK["cvae"])
        refused(minivae_command(*command), "a conditional VAE needs a label for each image, and", "has none")

    def test_one_class_is_a_vae_and_the_command_says_so(self, tmp_path):
        path = with_labels(tmp_path / "images.npz", np.zeros(20, int), np.zeros(5, int))
        options = ("--data", path, "--arch", "dense", "--latent-dim", 4, "--hidden", 20, "--epochs", 2)
        done = succeeded("train", "cvae", *options, "--out", tmp_path / "one")
        assert "all training images are of one class: their label says nothing" in done.stdout
        assert "argmax" not in done.stdout
        succeeded("train", "vae", *options, "--out", tmp_path / "vae")
        one, vae = (load(tmp_path / name / "model.npz") for name in ("one", "vae"))
        for name, array in vae.state_dict().items():
            np.testing.assert_array_equal(array, one.state_dict()[name])

    def test_classes_without_images_have_no_row(self, tmp_path):
        path = with_labels(tmp_path / "images.npz", np.arange(20) % 2 * 2, np.arange(6) % 2 * 2)
        out = tmp_path / "run"
        done = succeeded("train", "cvae", "--data", path, "--out", out, *QUICK["cvae"])
        assert "argmax_y" in done.stdout
        refused(minivae_command("sample", out, "--label", 1), "got [1], of which no image was")

    def test_early_stopping_has_labels(self, data, tmp_path):
        options = (*QUICK["cvae"], "--validation", 0.2, "--patience", 1)
        succeeded("train", "cvae", "--data", data, "--out", tmp_path / "run", *options)


class TestIWAE:
    def test_it_trains_on_the_bound_and_says_so(self, data, tmp_path):
        out = tmp_path / "run"
        done = succeeded("train", "vae", "--iwae", 3, "--data", data, "--out", out, *QUICK["vae"])
        model = load(out / "model.npz")
        assert isinstance(model, IWAE)
        assert model.importance_samples == 3
        bound = json.loads((out / "results.json").read_text())["test"]["iwae"]
        assert f"it was trained on the bound of 3 importance samples, {bound:.2f} on the test images" in done.stdout
        assert bound > float(table(done.stdout)[1]["ELBO"]) - 0.5
        succeeded("train", "vae", "--iwae", 3, "--data", data, "--out", out, *QUICK["vae"], "--epochs", 3, "--resume")
        for command in ("sample", "interpolate", "traverse", "reconstruct"):
            succeeded(command, out, "--out", tmp_path / f"{command}.png")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--iwae", 0], "must be at least 1, got 0"),
            (["--iwae", -5], "must be at least 1, got -5"),
            (["--iwae", 5, "--beta", 2], "beta must be 1.0 as the bound of an IWAE has no KL term, got 2.0"),
            (["--iwae", 5, "--free-bits", 0.1], "free_bits must be 0.0"),
            (["--iwae", 5, "--warmup-epochs", 1], "kl_warmup must be 0"),
        ],
    )
    def test_bad_options(self, data, tmp_path, options, message):
        refused(minivae_command("train", "vae", "--data", data, "--out", tmp_path / "run", *options), message)
        assert not (tmp_path / "run" / "config.json").exists()
