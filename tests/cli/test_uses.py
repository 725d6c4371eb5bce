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

    def test_several_models_stand_in_one_table_and_on_one_sheet(self, runs, x, tmp_path):
        paths = [runs(model)[0] for model in ("sae", "dae", "vae")]
        picture = tmp_path / "some.png"
        result = succeeded("denoise", *paths, "--out", picture)
        rows = {row["test images"]: row for row in table(result.stdout, "test images")}
        models = [f"through {path}" for path in paths]
        assert list(rows) == ["noisy", "through PCA of 4", "through PCA of 12", *models]
        for path, name in zip(paths, models, strict=True):
            found = uses.denoising(load(path / "model.npz"), x[1])
            assert float(rows[name]["PSNR"]) == pytest.approx(found.denoised_psnr, abs=0.01)
        assert f"clipped to [0, 1] as the likelihood of {paths[2]} needs it" in result.stdout
        assert is_picture(picture)


class TestPenalised:
    @pytest.mark.parametrize("model", ["sae", "cae"])
    def test_table_and_pictures(self, runs, x, model):
        out, result = runs(model)
        found = load(out / "model.npz")
        _, test, _ = table(result.stdout)
        assert float(test["squared error"]) == pytest.approx(-found.score(x[1]), abs=0.01)
        if model == "sae":
            activity = found.activity(x[1])
            assert f"{activity.share:.1%} of 12 latents are active in a test image" in result.stdout
            assert f"{activity.dead} in none" in result.stdout
        else:
            assert f"||J||^2 = {found.jacobian_norm(x[1]).mean():.2f}:" in result.stdout
        assert all(is_picture(out / f"{name}.png") for name in ("reconstructions", "training", "latent", "atoms"))
        assert succeeded("evaluate", out).stdout.strip() in result.stdout

    def test_networks_that_have_no_atoms_and_the_other_sparsity(self, data, tmp_path):
        out = tmp_path / "deep"
        succeeded("train", "cae", "--hidden", "6", "--data", data, "--out", out, *QUICK["cae"])
        assert not load(out / "model.npz").one_layer
        assert not (out / "atoms.png").exists()
        out, options = tmp_path / "kl", ["--sparsity", "kl", "--rho", "0.2", "--penalty", "0.7", "--decay", "0.1"]
        succeeded("train", "sae", *options, "--data", data, "--out", out, *QUICK["sae"])
        params = load(out / "model.npz").get_params()
        assert [params[name] for name in ("sparsity", "rho", "penalty", "decay")] == ["kl", 0.2, 0.7, 0.1]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["sae", "--rho", "0.1"], ["rho belongs to sparsity='kl'"]),
            (["sae", "--sparsity", "kl", "--rho", "1"], ["must be in (0, 1)"]),
            (["sae", "--sparsity", "kl", "--decay", "0"], ["needs a decay above 0"]),
            (["sae", "--penalty", "-1"], ["at least 0"]),
            (["cae", "--penalty", "nan"], ["at least 0"]),
            (["cae", "--rho", "0.1"], ["--rho"]),
        ],
    )
    def test_what_cannot_work_is_refused_before_anything_is_written(self, options, words, data, tmp_path):
        out = tmp_path / "run"
        refused(minivae_command("train", *options, "--data", data, "--out", out), *words)
        assert not out.exists()


class TestProbe:
    def test_a_row_for_each_model_and_baseline_a_column_for_each_number_of_labels(self, runs, x, data):
        paths = [runs(model)[0] for model in ("ae", "sae", "cae")]
        rows = table(succeeded("probe", *paths, "--labels", "3", "5").stdout, "features")
        assert list(rows[0]) == ["features", "numbers", "3 a class", "5 a class", "all labels"]
        with np.load(data) as a:
            images = (x[0], a["y_train"], x[1], a["y_test"])
        expected = uses.probe({str(path): load(path / "model.npz") for path in paths}, *images, labels=(None,))
        found = [(row["features"], row["numbers"], row["all labels"]) for row in rows]
        assert found == [(row.features, str(row.dim), f"{row.accuracy:.1%}") for row in expected]
        assert [name for name, *_ in found[3:]] == ["PCA of 4", "PCA of 12", "pixels"]
        (alone, *_) = table(succeeded("probe", paths[0], "--labels", "3", "5").stdout, "features")
        assert alone == rows[0]

    def test_runs_of_other_images_and_runs_that_are_named_twice(self, runs, data, tmp_path):
        with np.load(data) as a:
            other = {name: a[name] for name in a.files}
        np.savez(tmp_path / "other.npz", **{**other, "x_train": 1 - other["x_train"]})
        out, ae = tmp_path / "run", runs("ae")[0]
        succeeded("train", "ae", "--data", tmp_path / "other.npz", "--out", out, *QUICK["ae"])
        refused(minivae_command("probe", ae, out), "other images", str(out), "--data")
        refused(minivae_command("denoise", ae, out), "other images")
        assert "best:" in succeeded("probe", ae, out, "--data", data, "--labels", "3").stdout
        refused(minivae_command("probe", ae, ae), "named once")
        refused(minivae_command("probe"), "RUN")

    def test_more_labels_than_there_are(self, runs):
        refused(minivae_command("probe", runs("ae")[0], "--labels", "21"), "21", "[2, 20]")

    def test_codes_that_are_no_numbers(self, runs):
        run = runs("vqvae")[0]
        refused(minivae_command("probe", runs("ae")[0], run, "--labels", "5"), str(run), "VQVAE", "vectors")

    @pytest.mark.parametrize("command", ["probe", "denoise"])
    def test_a_model_that_needs_labels(self, command, runs):
        run = runs("cvae")[0]
        refused(minivae_command(command, runs("ae")[0], run), f"{command} is for", str(run), "ConditionalVAE")


class TestAnomaly:
    options = ("--epochs", "2", "--batch-size", "16", "--latent-dim", "4", "--false-alarms", "0.2")

    def test_stands_beside_pca(self, data, tmp_path):
        out = tmp_path / "run"
        result = succeeded("anomaly", "--data", data, "--out", out, "--normal", "0", "2", *self.options)
        rows = table(result.stdout, "model")
        assert [row["model"] for row in rows] == ["ae", "dae", "sae", "cae", "PCA of 4"]
        assert all(0 <= float(row["AUROC"]) <= 1 for row in rows)
        found = json.loads((out / "results.json").read_text())
        assert [f"{of['auroc']:.4f}" for of in found.values()] == [row["AUROC"] for row in rows]
        assert is_picture(out / "anomalies.png")
        succeeded("reconstruct", out)

    def test_a_model_is_the_same_whichever_others_are_trained(self, data, tmp_path):
        """Each alone and behind others, also where the run is made longer; the run keeps the first."""

        def rows(out, *options):
            printed = succeeded("anomaly", "--data", data, "--out", tmp_path / out, *self.options, *options).stdout
            return {row["model"]: row for row in table(printed, "model")}

        both = rows("both", "--models", "vae", "cae")
        assert list(both) == ["vae", "cae", "PCA of 4"]
        assert rows("alone", "--models", "cae")["cae"] == both["cae"]
        assert type(load(tmp_path / "both" / "model.npz")).__name__ == "VAE"
        longer = ("--models", "vae", "cae", "--epochs", "3")
        again = rows("both", *longer, "--resume")
        assert again["cae"] == rows("longer", *longer)["cae"] != both["cae"]

    @pytest.mark.parametrize("command", ["anomaly", "compress-curve"])
    def test_data_that_are_no_images(self, command, tmp_path):
        words = "images", "'moving-clothes' holds videos"
        refused(minivae_command(command, "--data", "moving-clothes", "--out", tmp_path / "run"), *words)
        assert not (tmp_path / "run").exists()

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
            assert float(row["PCA"]) == pytest.approx(uses.psnr(x[1], pca), abs=0.01)
        assert list(rows[0])[1:] == ["ae", "dae", "sae", "cae", "PCA"]
        found = json.loads((out / "results.json").read_text())
        assert [row["cae"] for row in rows] == [f"{row['psnr']:.2f}" for row in found["cae"]]
        assert "squared error per image" in result.stdout
        assert is_picture(out / "compression.png")
        refused(minivae_command("compress-curve", "--data", data, "--out", out), "--force")

    @pytest.mark.parametrize("dims", [["0"], ["4", "100"]])
    def test_lengths_that_there_are_none_of(self, dims, data, tmp_path):
        out = tmp_path / "run"
        refused(minivae_command("compress-curve", "--data", data, "--out", out, "--dims", *dims), dims[-1])
        assert not out.exists()
