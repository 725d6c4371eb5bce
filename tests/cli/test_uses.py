"""`minivae train ae|dae`, denoise, probe, anomaly and compress-curve."""

import json

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table
from strategies import numbers

from minivae import uses
from minivae.models import Autoencoder, load


@pytest.fixture(scope="module")
def x(data):
    with np.load(data) as arrays:
        return arrays["x_train"][:, None], arrays["x_test"][:, None]


class TestAutoencoder:
    def test_the_table_is_about_pictures(self, runs, x):
        out, result = runs("ae")
        model = load(out / "model.npz")
        assert isinstance(model, Autoencoder)
        train, test, pca = table(result.stdout)
        for row, seen, images in ((train, model, x[0]), (test, model, x[1]), (pca, uses.PCA(x[0], 4), x[1])):
            y = seen.reconstruct(images)
            assert float(row["squared error"]) == pytest.approx(((images - y) ** 2).sum() / len(y), abs=0.01)
            assert float(row["PSNR"]) == pytest.approx(uses.psnr(images, y.clip(0, 1)), abs=0.01)
        assert pca["data"] == "test, by PCA of 4"
        assert all(is_picture(out / f"{name}.png") for name in ("reconstructions", "training", "latent"))

    def test_there_is_no_psnr_of_what_has_no_peak(self, tmp_path):
        np.save(tmp_path / "x.npy", numbers(40, 1, 8, 8, dtype=np.float32))
        result = succeeded("train", "ae", "--data", tmp_path / "x.npy", "--out", tmp_path / "run", *QUICK["ae"])
        assert "PSNR" not in result.stdout
        refused(minivae_command("denoise", tmp_path / "run"), "[0, 1]")


class TestDenoising:
    def test_gain_is_what_comes_out_less_what_goes_in(self, runs, x):
        out, result = runs("dae")
        assert load(out / "model.npz").corruption == "gaussian"
        assert is_picture(out / "denoised.png")
        noisy, pca, model = table(result.stdout, "test images")
        assert float(noisy["gain"]) == 0
        for row in (pca, model):
            assert float(row["gain"]) == pytest.approx(float(row["PSNR"]) - float(noisy["PSNR"]), abs=0.011)
        found = uses.denoising(load(out / "model.npz"), x[1])
        assert float(model["PSNR"]) == pytest.approx(found.denoised_psnr, abs=0.01)

    def test_denoise_takes_the_noise_of_training_unless_told(self, runs, tmp_path):
        out, trained = runs("dae")
        picture = tmp_path / "some.png"
        result = succeeded("denoise", out, "-n", "5", "--out", picture)
        assert table(result.stdout, "test images") == table(trained.stdout, "test images")
        assert is_picture(picture)
        other = succeeded("denoise", out, "--corruption", "masking", "--level", "0.5", "--out", picture)
        assert "masking noise of level 0.5" in other.stdout

    def test_options_of_the_other_model(self, data, tmp_path):
        refused(minivae_command("train", "ae", "--data", data, "--level", "0.5"), "'train ae'", "--level 0.5")
        out = tmp_path / "run"
        refused(
            minivae_command(
                "train", "dae", "--data", data, "--out", out, "--corruption", "masking", "--level", "2", *QUICK["dae"]
            ),
            "probability",
        )
        assert not out.exists()


class TestProbe:
    def test_a_row_for_each_number_of_labels(self, runs, x, data):
        out, _ = runs("ae")
        result = succeeded("probe", out, "--labels", "3", "5")
        rows = table(result.stdout, "labels a class")
        assert [row["labels a class"] for row in rows] == ["3", "5", "all"]
        assert list(rows[0])[1:] == ["codes (4)", "PCA (4)", "pixels (64)"]
        with np.load(data) as a:
            images = (x[0], a["y_train"], x[1], a["y_test"])
        expected = uses.probe(load(out / "model.npz"), *images, labels=(None,))
        assert [rows[2][name] for name in list(rows[0])[1:]] == [f"{row.accuracy:.1%}" for row in expected]

    def test_more_labels_than_there_are(self, runs):
        refused(minivae_command("probe", runs("ae")[0], "--labels", "21"), "21", "[2, 20]")

    def test_codes_that_are_no_numbers(self, runs):
        refused(minivae_command("probe", runs("vqvae")[0], "--labels", "5"), "floating")


class TestAnomaly:
    options = ("--epochs", "2", "--batch-size", "16", "--latent-dim", "4", "--false-alarms", "0.2")

    def test_stands_beside_pca(self, data, tmp_path):
        out = tmp_path / "run"
        result = succeeded("anomaly", "--data", data, "--out", out, "--normal", "0", "2", *self.options)
        rows = table(result.stdout, "squared error of")
        assert [row["squared error of"] for row in rows] == ["autoencoder", "PCA of 4"]
        assert all(0 <= float(row["AUROC"]) <= 1 for row in rows)
        found = json.loads((out / "results.json").read_text())["autoencoder"]
        assert f"{found['auroc']:.4f}" == rows[0]["AUROC"]
        assert is_picture(out / "anomalies.png")
        succeeded("reconstruct", out)

    def test_classes_that_are_not_there_and_no_labels(self, data, tmp_path):
        out = tmp_path / "run"
        refused(minivae_command("anomaly", "--data", data, "--out", out, "--normal", "7"), "[7]", "[0, 1, 2]")
        np.save(tmp_path / "x.npy", numbers(40, 1, 8, 8, low=0, high=1, dtype=np.float32))
        refused(minivae_command("anomaly", "--data", tmp_path / "x.npy", "--out", out), "labels")
        assert not out.exists()

    def test_a_rate_that_is_none(self, data, tmp_path):
        out = tmp_path / "run"
        refused(minivae_command("anomaly", "--data", data, "--out", out, "--false-alarms", "1.5"), "(0, 1)")
        assert not out.exists()


class TestCompression:
    options = ("--epochs", "1", "--batch-size", "16")

    def test_a_row_for_each_length(self, data, tmp_path, x):
        out = tmp_path / "run"
        result = succeeded("compress-curve", "--data", data, "--out", out, "--dims", "8", "2", *self.options)
        rows = table(result.stdout, "numbers in a code")
        assert [row["numbers in a code"] for row in rows] == ["2", "8"]
        for row in rows:
            pca = uses.PCA(x[0], int(row["numbers in a code"])).reconstruct(x[1]).clip(0, 1)
            assert float(row["PSNR of PCA"]) == pytest.approx(uses.psnr(x[1], pca), abs=0.01)
        assert is_picture(out / "compression.png")
        refused(minivae_command("compress-curve", "--data", data, "--out", out), "--force")

    @pytest.mark.parametrize("dims", [["0"], ["4", "100"]])
    def test_lengths_that_there_are_none_of(self, dims, data, tmp_path):
        out = tmp_path / "run"
        refused(minivae_command("compress-curve", "--data", data, "--out", out, "--dims", *dims), dims[-1])
        assert not out.exists()
