"""`minivae train vqvae`, `minivae train prior RUN` and what they can be asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, run_until, same_models, succeeded, table

from minivae import datasets, manual_seed
from minivae.cli import priors
from minivae.cli.views.vqvae import TEMPERATURE
from minivae.models import VQVAE, PixelCNN, load


def copy(run, folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


class TestVQVAE:
    def test_leaves_a_run_and_a_table_that_adds_up(self, runs):
        out, result = runs("vqvae")
        model = load(out / "model.npz")
        assert isinstance(model, VQVAE)
        assert (model.codes, model.code_dim, model.channels) == (6, 3, 4)
        assert all(is_picture(out / f"{name}.png") for name in ("reconstructions", "training", "codes"))
        assert not (out / "samples.png").exists()
        rows = table(result.stdout)
        assert [(row["data"], row["prior of the codes"]) for row in rows] == [("train", "uniform"), ("test", "uniform")]
        for row in rows:
            assert float(row["codes"]) == pytest.approx(4 * np.log(6), abs=0.01)
            assert float(row["bound"]) == pytest.approx(float(row["nll"]) + float(row["codes"]), abs=0.011)
            assert float(row["bits/dim"]) == pytest.approx(float(row["bound"]) / (64 * np.log(2)), abs=1e-3)
        test = json.loads((out / "results.json").read_text())["test"]
        assert f"{test['usage']:.1%} of 6 codes used on the test images" in result.stdout
        assert 1 <= test["perplexity"] <= 6

    def test_without_prior_samples_are_refused_in_one_sentence(self, runs, tmp_path):
        out, _ = runs("vqvae")
        picture = tmp_path / "samples.png"
        refused(minivae_command("sample", out, "--out", picture), "no prior", f"minivae train prior {out}")
        assert not picture.exists()


class TestPrior:
    def test_is_left_beside_the_model_with_its_metrics(self, with_prior):
        out, result = with_prior
        prior, model = load(out / "prior.npz"), load(out / "model.npz")
        assert isinstance(prior, PixelCNN)
        assert prior.codebook_digest == model.codebook_digest
        assert (tuple(prior.map_shape), prior.values, prior.channels, prior.layers) == ((2, 2), 6, 4, 2)
        epochs = [json.loads(line)["epoch"] for line in (out / "prior_metrics.jsonl").read_text().splitlines()]
        assert epochs == [1, 2]
        assert is_picture(out / "prior_training.png")
        assert is_picture(out / "samples.png")
        assert [line.split("  ")[0] for line in result.stderr.strip().splitlines()] == ["epoch 1/2", "epoch 2/2"]

    def test_the_table_has_the_cost_under_the_prior(self, with_prior, data):
        out, result = with_prior
        (row,) = [row for row in table(result.stdout) if row["prior of the codes"] == "PixelCNN"]
        model, prior = load(out / "model.npz"), load(out / "prior.npz")
        bound = model.bound(np.load(data)["x_test"], prior, np.load(data)["y_test"])
        assert "-log p(x | y)" in result.stdout
        assert float(row["codes"]) == pytest.approx(bound.codes, abs=0.01)
        assert float(row["bound"]) == pytest.approx(bound.nats, abs=0.01)
        assert succeeded("evaluate", out).stdout.strip() in result.stdout

    def test_samples_depend_on_seed_and_temperature(self, with_prior, tmp_path):
        out, _ = with_prior
        pictures, usual = {}, ["--temperature", str(TEMPERATURE)]
        for name, options in {"a": [], "b": usual, "c": ["--seed", "1"], "d": ["--temperature", "0.1"]}.items():
            succeeded("sample", out, "-n", "9", "--out", tmp_path / f"{name}.png", *options)
            pictures[name] = (tmp_path / f"{name}.png").read_bytes()
        assert pictures["a"] == pictures["b"]
        assert len({*pictures.values()}) == 3

    def test_a_conditional_prior_draws_what_is_asked_for(self, with_prior, tmp_path):
        out = copy(with_prior[0], tmp_path / "run", "model.npz", "config.json", "prior.npz")
        for options in ([], ["--label", "2"]):
            succeeded("sample", out, "-n", "6", *options)
        refused(minivae_command("sample", out, "--label", "3"), "[0, 3)")

    def test_is_conditional_where_the_labels_allow_it_and_nobody_forbids_it(self, with_prior, data, runs, tmp_path):
        assert load(with_prior[0] / "prior.npz").classes == 3
        arrays = dict(np.load(data))
        np.savez(tmp_path / "far.npz", **{**arrays, "y_train": 100 * arrays["y_train"]})
        np.savez(tmp_path / "none.npz", x_train=arrays["x_train"], x_test=arrays["x_test"])
        for name, options in ((data, ["--no-conditional"]), (tmp_path / "far.npz", []), (tmp_path / "none.npz", [])):
            out = copy(runs("vqvae")[0], tmp_path / f"of {Path(name).stem}", "model.npz")
            (out / "config.json").write_text(json.dumps({"data": str(name)}))
            result = succeeded("train", "prior", out, *QUICK["prior"], *options)
            assert load(out / "prior.npz").classes is None
            assert "p(x | y)" not in result.stdout

    def test_mirror_images_are_trained_on_where_asked_or_known_to_be_as_good(self, runs, data, tmp_path, monkeypatch):
        assert {*priors.MIRRORED} <= {*datasets.names()}
        monkeypatch.setattr(priors, "MIRRORED", (datasets.load(data).name,))
        for name, options in (("usual", []), ("asked", ["--mirrored"]), ("not", ["--no-mirrored"])):
            out = copy(runs("vqvae")[0], tmp_path / name, "model.npz", "config.json")
            result = succeeded("train", "prior", out, *QUICK["prior"], *options)
            assert ("mirror images" in result.stdout) == (name != "not")
            assert ("120 training" if name != "not" else "60 training") in result.stdout
        same_models(tmp_path / "usual" / "prior.npz", tmp_path / "asked" / "prior.npz")

        model, dropout, arrays = load(out / "model.npz"), load(out / "prior.npz").dropout, np.load(data)
        x, y = model.check_images(arrays["x_train"]), arrays["y_train"]
        maps = np.concatenate([model.encode(x), model.encode(np.flip(x, axis=3))])
        manual_seed(0)
        settings = {"channels": 4, "layers": 2, "classes": 3, "codebook_digest": model.codebook_digest}
        prior = PixelCNN(model.code_shape, 6, **settings, dropout=dropout)
        prior.fit(maps, np.tile(y, 2), epochs=2, batch_size=16, lr=2e-3).save(tmp_path / "by hand.npz")
        same_models(tmp_path / "by hand.npz", tmp_path / "asked" / "prior.npz")

    def test_dropout_is_that_of_the_option(self, with_prior, runs, tmp_path):
        out = copy(runs("vqvae")[0], tmp_path / "run", "model.npz", "config.json")
        refused(minivae_command("train", "prior", out, "--dropout", "1"), "--dropout", "[0, 1)")
        succeeded("train", "prior", out, *QUICK["prior"], "--dropout", "0.5")
        assert load(out / "prior.npz").dropout == 0.5
        assert load(with_prior[0] / "prior.npz").dropout > 0

    def test_the_table_says_which_share_of_the_samples_is_whole(self, with_prior, runs):
        out, result = with_prior
        found = json.loads((out / "prior_results.json").read_text())["wholeness"]
        samples = ["samples, uniform prior", "samples, temperature 1", f"samples, temperature {TEMPERATURE:g}"]
        assert list(found) == ["test images", "their reconstructions", *samples]
        for name, shares in found.items():
            assert 0 <= shares["certain"] <= shares["whole"] <= 1
            assert any(
                line.startswith(name) and f"{shares['whole']:.1%}" in line for line in result.stdout.splitlines()
            )
        for model, last in (("vqvae", "samples, uniform prior"), ("vae", "samples")):
            folder, _ = runs(model)
            assert [*json.loads((folder / "results.json").read_text())["wholeness"]][-1] == last

    def test_ctrl_c_and_resume(self, runs, tmp_path):
        out, _ = runs("vqvae")
        whole, broken = (copy(out, tmp_path / name, "model.npz", "config.json") for name in ("whole", "broken"))
        options = [*QUICK["prior"], "--batch-size", "4", "--epochs", "6"]
        assert "--resume" in run_until(broken / "prior.npz", "train", "prior", broken, *options)
        load(broken / "prior.npz")
        refused(minivae_command("train", "prior", broken, *options), "--force", "--resume")
        other = [*options, "--layers", "3"]
        refused(minivae_command("train", "prior", broken, "--resume", *other), "--layers was 2, not 3")
        succeeded("train", "prior", broken, "--resume", *options)
        succeeded("train", "prior", whole, *options)
        same_models(whole / "prior.npz", broken / "prior.npz")


class TestBadInput:
    def test_a_run_that_is_no_vqvae(self, runs):
        out, _ = runs("vae")
        before = sorted(out.iterdir())
        refused(minivae_command("train", "prior", out), "holds VAE", str(out))
        assert sorted(out.iterdir()) == before

    def test_a_prior_of_another_codebook(self, with_prior, data, tmp_path):
        out, _ = with_prior
        succeeded("train", "vqvae", "--data", data, "--out", tmp_path / "run", *QUICK["vqvae"], "--seed", "1")
        (tmp_path / "run" / "prior.npz").write_bytes((out / "prior.npz").read_bytes())
        for command in ("sample", "evaluate"):
            refused(minivae_command(command, tmp_path / "run"), "another codebook", "--force")

    def test_the_prior_in_place_of_its_run(self, with_prior):
        out, _ = with_prior
        refused(minivae_command("sample", out / "prior.npz"), "name the folder of the run")

    def test_a_new_model_takes_the_prior_of_the_old_one_away(self, with_prior, data, tmp_path):
        out = copy(with_prior[0], tmp_path / "run", "model.npz", "config.json", "prior.npz", "prior_config.json")
        succeeded("train", "vqvae", "--data", data, "--out", out, "--force", *QUICK["vqvae"])
        refused(minivae_command("sample", out), "no prior")

    def test_labels_and_temperature_where_there_are_none(self, with_prior, runs, tmp_path):
        out = copy(runs("vqvae")[0], tmp_path / "run", "model.npz", "config.json")
        succeeded("train", "prior", out, "--no-conditional", *QUICK["prior"])
        refused(minivae_command("sample", out, "--label", "1"), "--conditional")
        refused(minivae_command("sample", with_prior[0], "--temperature", "-1"), "temperature")
        refused(minivae_command("sample", runs("vae")[0], "--temperature", "0.5"), "VAE", "--temperature")

    def test_labels_that_were_not_trained_cost_no_older_prior(self, with_prior, data, tmp_path):
        """Class 3 is among the test images alone."""
        arrays = dict(np.load(data))
        np.savez(tmp_path / "other.npz", **{**arrays, "y_test": arrays["y_test"] + 1})
        out = copy(with_prior[0], tmp_path / "run", "model.npz", "prior.npz", "prior_config.json", "config.json")
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps({**config, "data": str(tmp_path / "other.npz")}))
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        options = ["--conditional", "--force", *QUICK["prior"]]
        refused(minivae_command("train", "prior", out, *options), "no training image", "labels 3")
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def test_a_conditional_prior_without_labels(self, runs, tmp_path):
        np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 1, 8, 8), np.float32))
        out = tmp_path / "run"
        succeeded("train", "vqvae", "--data", tmp_path / "x.npy", "--out", out, *QUICK["vqvae"])
        refused(minivae_command("train", "prior", out, "--conditional"), "labels")
        assert not (out / "prior_config.json").exists()

    def test_a_codebook_larger_than_the_data(self, data, tmp_path):
        options = [*QUICK["vqvae"], "--codes", "1000"]
        refused(minivae_command("train", "vqvae", "--data", data, "--out", tmp_path / "run", *options), "k-means")
        assert not (tmp_path / "run" / "model.npz").exists()

    def test_images_that_the_strides_do_not_divide(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((10, 1, 6, 8), np.float32))
        out = tmp_path / "run"
        refused(minivae_command("train", "vqvae", "--data", tmp_path / "x.npy", "--out", out), "multiple of 4")
        assert not out.exists()
