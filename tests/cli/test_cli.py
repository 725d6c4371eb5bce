"""`minivae train`, and what it leaves behind."""

import importlib.util
import json

import numpy as np
import pytest
from command_line import (
    QUICK,
    is_picture,
    minivae_command,
    minivae_process,
    refused,
    run_until,
    same_models,
    succeeded,
    table,
)
from strategies import numbers

import minivae
from minivae.cli.views.vae import SEED
from minivae.models import VAE, load
from minivae.nn.likelihoods import LIKELIHOODS
from minivae.random import fork

PICTURES = ["reconstructions", "samples", "training", "latent", "interpolation", "traversal"]


class TestVAE:
    def test_leaves_a_run(self, runs):
        out, _ = runs("vae")
        assert all(is_picture(out / f"{name}.png") for name in PICTURES)
        assert not (out / "manifold.png").exists()
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [r["epoch"] for r in records] == [1, 2]
        assert {"loss", "nll", "kl", "validation_loss", "images_per_second"} <= records[0].keys()
        config = json.loads((out / "config.json").read_text())
        assert (config["model"], config["latent_dim"]) == ("vae", 4)
        assert config["versions"]["minivae"] == minivae.__version__
        assert isinstance(load(out / "model.npz"), VAE)

    def test_prints_plain_lines_and_a_table_that_adds_up(self, runs):
        out, result = runs("vae")
        assert [line.split("  ")[0] for line in result.stderr.strip().splitlines()] == ["epoch 1/2", "epoch 2/2"]
        train, test = table(result.stdout)
        assert (train["data"], test["data"]) == ("train", "test")
        for row in (train, test):
            assert float(row["ELBO"]) == pytest.approx(-float(row["nll"]) - float(row["kl"]), abs=0.011)
            assert float(row["bits/dim"]) == pytest.approx(-float(row["ELBO"]) / (64 * np.log(2)), abs=1e-3)
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
        assert float(test["nll"]) == pytest.approx(last["validation_nll"], abs=0.01)

    def test_writes_the_numbers_of_the_table(self, runs, data):
        out, result = runs("vae")
        numbers, x = json.loads((out / "results.json").read_text()), np.load(data)["x_test"]
        assert f"{numbers['test']['elbo']:.2f}" == table(result.stdout)[1]["ELBO"]
        assert f"log p(x) = {numbers['log_likelihood']:.2f}: 100 importance samples for each of 20" in result.stdout
        model = load(out / "model.npz")
        with fork(SEED):
            assert numbers["log_likelihood"] == pytest.approx(model.log_likelihood(x, 100).mean())
        assert f"{numbers['active']} of 4 latents active" in result.stdout
        assert sum(numbers["kl_per_latent"]) == pytest.approx(numbers["test"]["kl"], rel=1e-5)
        assert numbers["parameters"] == load(out / "model.npz").num_parameters()

    def test_options_reach_the_model(self, data, tmp_path):
        options = ["--warmup-epochs", "3", "--free-bits", "0.25", "--binarize", "--beta", "2", "--latent-dim", "2"]
        out = tmp_path / "run"
        succeeded("train", "vae", "--data", data, "--out", out, *QUICK["vae"][:-2], *options)
        model = load(out / "model.npz")
        assert (model.kl_warmup, model.free_bits, model.binarize, model.beta) == (3 * 4, 0.25, "dynamic", 2)
        assert is_picture(out / "manifold.png")

    @pytest.mark.parametrize("likelihood", LIKELIHOODS)
    @pytest.mark.parametrize("model", ["vae", "vqvae", "vqvae2"])
    def test_every_likelihood_is_offered_to_every_model_that_has_one(self, model, likelihood, tmp_path):
        x = np.rint(numbers(40, 1, 8, 8, low=0, high=255)) / 255
        np.save(tmp_path / "x.npy", x.astype(np.float32))
        small = ["--epochs", "1", *(["--latent-dim", "2"] if model == "vae" else ["--channels", "4", "--codes", "4"])]
        small += ["--top-codes", "4"] if model == "vqvae2" else []
        out = tmp_path / "run"
        succeeded("train", model, "--data", tmp_path / "x.npy", "--out", out, "--likelihood", likelihood, *small)
        trained = load(out / "model.npz")
        assert trained.likelihood == likelihood
        assert trained.reconstruct(trained.check_images(x)).shape == x.shape

    def test_pixels_that_are_not_of_8_bits_are_refused_before_anything_is_written(self, tmp_path):
        np.save(tmp_path / "x.npy", numbers(40, 1, 8, 8, low=0, high=1, dtype=np.float32))
        options = ["--data", tmp_path / "x.npy", "--out", tmp_path / "run", "--likelihood", "logistic"]
        refused(minivae_command("train", "vae", *options), "integers / 255", "likelihood='gaussian' takes any")
        assert not (tmp_path / "run").exists()

    def test_gaussian_convolutional_on_data_outside_the_unit_interval(self, tmp_path):
        np.save(tmp_path / "x.npy", numbers(40, 1, 8, 8, dtype=np.float32))
        out = tmp_path / "run"
        options = ["--likelihood", "gaussian", "--epochs", "1", "--latent-dim", "2"]
        succeeded("train", "vae", "--data", tmp_path / "x.npy", "--out", out, *options)
        assert is_picture(out / "latent.png")


class TestRuns:
    def test_does_not_overwrite_without_force(self, runs, data):
        out, _ = runs("vae")
        before = (out / "model.npz").read_bytes()
        refused(minivae_command("train", "vae", "--data", data, "--out", out, *QUICK["vae"]), "--force", str(out))
        assert (out / "model.npz").read_bytes() == before

    def test_force_overwrites_what_hung_on_the_old_run_too(self, data, tmp_path):
        (tmp_path / "metrics.jsonl").write_text("old\n")
        (tmp_path / "prior.npz").write_text("of another model")
        succeeded("train", "vae", "--data", data, "--out", tmp_path, "--force", *QUICK["vae"])
        assert "old" not in (tmp_path / "metrics.jsonl").read_text()
        assert not (tmp_path / "prior.npz").exists()

    @pytest.mark.parametrize("impossible", [["--codes", "5000"], ["--device", "cuda"]], ids=["codes", "device"])
    def test_what_cannot_be_trained_overwrites_nothing(self, impossible, data, tmp_path):
        if "cuda" in impossible and importlib.util.find_spec("cupy") is not None:
            possible = importlib.import_module("cupy").cuda.is_available()
            if possible:
                pytest.skip("there is a GPU")
        succeeded("train", "vqvae", "--data", data, "--out", tmp_path, *QUICK["vqvae"])
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        options = ["--data", data, "--force", *QUICK["vqvae"], *impossible]
        refused(minivae_command("train", "vqvae", "--out", tmp_path, *options), *impossible[1:])
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        refused(minivae_command("train", "vqvae", "--out", tmp_path / "new", *options), *impossible[1:])
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("seed", [0, 1])
    def test_one_seed_is_one_model(self, runs, data, tmp_path, seed):
        out, _ = runs("vae")
        succeeded("train", "vae", "--data", data, "--out", tmp_path / "run", "--seed", seed, *QUICK["vae"])
        a, b = load(out / "model.npz").state_dict(), load(tmp_path / "run" / "model.npz").state_dict()
        assert all(np.array_equal(a[k], b[k]) for k in a) == (seed == 0)

    @pytest.mark.parametrize("model", ["vae", "vqvae"])
    def test_ctrl_c_keeps_the_last_checkpoint_and_resume_goes_on(self, model, data, tmp_path):
        """A run that is interrupted and resumed ends in the very model of one that was not."""
        options = ["--data", data, *QUICK[model], "--batch-size", "4", "--epochs", "6"]
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        err = run_until(broken / "model.npz", "train", model, "--out", broken, *options)
        assert "--resume" in err
        load(broken / "model.npz")
        refused(minivae_command("train", model, "--out", broken, *options), "--resume")
        other = [*options, "--lr", "0.5"]
        refused(minivae_command("train", model, "--out", broken, "--resume", *other), "--lr was 0.002, not 0.5")
        succeeded("train", model, "--out", broken, "--resume", *options)
        succeeded("train", model, "--out", whole, *options)
        same_models(whole / "model.npz", broken / "model.npz")
        epochs = [json.loads(line)["epoch"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
        assert epochs == list(range(1, 7))

    def test_evaluate_prints_the_table_again(self, runs, tmp_path):
        out, result = runs("vae")
        again = succeeded("evaluate", out, "--out", tmp_path / "numbers.json")
        assert again.stdout.strip() in result.stdout
        numbers = json.loads((out / "results.json").read_text())
        assert json.loads((tmp_path / "numbers.json").read_text()).items() <= numbers.items()
        fewer = succeeded("evaluate", out, "--samples", "7", "--images", "5")
        assert "7 importance samples for each of 5 test images" in fewer.stdout


def test_version_and_info():
    assert succeeded("--version").stdout == f"minivae {minivae.__version__}\n"
    info = succeeded("info").stdout
    for word in ("minivae", np.__version__, "BLAS", "threads", "MPI", "CuPy"):
        assert word in info


def test_python_m_minivae():
    out, _ = minivae_process("--version").communicate(timeout=60)
    assert out == f"minivae {minivae.__version__}\n"
