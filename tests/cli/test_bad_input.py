"""What a user can get wrong: one line, exit code 2, and nothing lost or left behind."""

import os
import subprocess
import sys

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, run_until, succeeded
from strategies import numbers

from minivae.models import load


class TestOptions:
    @pytest.mark.parametrize(
        ("model", "option"),
        [
            ("ae", ("--beta", "2")),
            ("dae", ("--codes", "8")),
            ("vae", ("--codes", "8")),
            ("vae", ("--corruption", "masking")),
            ("vqvae", ("--latent-dim", "8")),
            ("vqvae", ("--lat", "8")),
            ("prior", ("run", "--data", "shapes")),
        ],
    )
    def test_of_another_model(self, model, option, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(minivae_command("train", model, *option), f"train {model}", option[-2])
        assert not list(tmp_path.iterdir())

    def test_of_another_model_when_the_run_says_which(self, runs):
        refused(minivae_command("evaluate", runs("ae")[0], "--samples", "9"), "Autoencoder", "--samples")
        refused(minivae_command("sample", runs("vae")[0], "--label", "1"), "VAE", "--label")

    @pytest.mark.parametrize("option", ["--epochs", "--latent-dim", "--batch-size", "--warmup-epochs"])
    def test_counts_below_the_least(self, option, data, tmp_path):
        refused(minivae_command("train", "vae", "--data", data, "--out", tmp_path / "r", option, "-1"), "at least")
        assert not (tmp_path / "r").exists()

    @pytest.mark.parametrize("option", ["--beta", "--free-bits", "--lr", "--seed"])
    def test_numbers_below_zero(self, option, data, tmp_path):
        refused(minivae_command("train", "vae", "--data", data, "--out", tmp_path / "r", option, "-1"), "-1")
        assert not (tmp_path / "r").exists()

    @pytest.mark.parametrize(
        "option", [("--epochs", "many"), ("--arch", "rnn"), ("--likelihood", "poisson"), ("--device", "tpu")]
    )
    def test_values_that_are_none(self, option):
        refused(minivae_command("train", "vae", *option), option[1])

    @pytest.mark.parametrize("likelihood", ["gaussian", "logistic", "continuous-bernoulli"])
    def test_binarized_pixels_with_another_likelihood(self, likelihood, data, tmp_path):
        options = ["--likelihood", likelihood, "--binarize", "--out", tmp_path / "r"]
        refused(minivae_command("train", "vae", "--data", data, *options), "binarize", "bernoulli")

    def test_no_command(self):
        refused(minivae_command(), "COMMAND")
        refused(minivae_command("train"), "MODEL")

    def test_force_and_resume(self, data, tmp_path):
        options = ["--out", tmp_path, "--force", "--resume"]
        refused(minivae_command("train", "vae", "--data", data, *options), "not both")


class TestData:
    def test_unknown_data_set(self, tmp_path):
        result = minivae_command("train", "vae", "--data", "imagenet", "--out", tmp_path / "r")
        refused(result, "imagenet", "fashion-mini")

    def test_nan_in_the_data_is_found_before_training(self, tmp_path):
        x = numbers(40, 1, 8, 8, low=0, high=1)
        x[17, 0, 3, 2] = np.nan
        np.save(tmp_path / "x.npy", x)
        refused(minivae_command("train", "vae", "--data", tmp_path / "x.npy", "--out", tmp_path / "r"), "nan", "17")


class TestRuns:
    COMMANDS = ("evaluate", "sample", "reconstruct", "interpolate", "traverse", "manifold", "denoise", "probe")

    @pytest.mark.parametrize("command", [*COMMANDS, "train prior"])
    def test_no_run(self, command, tmp_path):
        refused(minivae_command(*command.split(), tmp_path / "absent"), "absent", "is no run")
        refused(minivae_command(*command.split(), tmp_path), str(tmp_path), "model.npz")
        foreign = tmp_path / "notes.npz"
        foreign.write_text("not a model")
        refused(minivae_command(*command.split(), foreign), "no readable minivae checkpoint")

    def test_truncated_model(self, runs, tmp_path):
        (tmp_path / "model.npz").write_bytes((runs("vae")[0] / "model.npz").read_bytes()[:1000])
        refused(minivae_command("sample", tmp_path), "no readable minivae checkpoint")

    def test_a_model_without_its_options(self, runs, tmp_path):
        (tmp_path / "model.npz").write_bytes((runs("vae")[0] / "model.npz").read_bytes())
        refused(minivae_command("reconstruct", tmp_path), "--data")
        (tmp_path / "config.json").write_text("{")
        refused(minivae_command("reconstruct", tmp_path), "config.json")

    @pytest.mark.parametrize("text", ["", "[]", "7", '{"data": 7}', '{"data": ["shapes"]}', "[" * 100_000, "\xff"])
    def test_options_that_are_none(self, runs, tmp_path, text):
        (tmp_path / "model.npz").write_bytes((runs("vae")[0] / "model.npz").read_bytes())
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        refused(minivae_command("reconstruct", tmp_path), "config.json")

    def test_nothing_to_resume(self, tmp_path):
        refused(minivae_command("train", "vae", "--out", tmp_path, "--resume"), "no run to resume")


class TestFolders:
    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody can write")
    def test_one_in_which_not_even_root_can_write(self, data):
        refused(
            minivae_command("train", "vae", "--data", data, "--out", "/proc/self/run", *QUICK["vae"]), "/proc/self/run"
        )

    def test_unwritable(self, data, tmp_path):
        blocked = tmp_path / "file"
        blocked.write_text("")
        options = ["--data", data, *QUICK["vae"]]
        refused(minivae_command("train", "vae", *options, "--out", blocked / "run"), "file")
        refused(minivae_command("train", "vae", *options, "--out", blocked), "is a file")
        if os.geteuid() == 0:
            pytest.skip("root writes everywhere")
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(minivae_command("train", "vae", *options, "--out", tmp_path / "locked"), "not writable")

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
    def test_a_disk_that_fills_up_leaves_the_last_checkpoint(self, data, tmp_path):
        """Files may not grow beyond a kilobyte: a write fails halfway, as on a full disk."""
        out = tmp_path / "run"
        train = ["train", "vae", "--data", data, "--out", out, *QUICK["vae"], "--batch-size", "4", "--epochs", "6"]
        run_until(out / "model.npz", *train)
        before = {name: (out / name).read_bytes() for name in ("model.npz", "checkpoint.npz")}
        for command in ([*train, "--resume"], ["sample", out, "--out", tmp_path / "samples.png"]):
            result = subprocess.run(
                [sys.executable, "-c", SMALL_FILES, *map(str, command)], capture_output=True, text=True
            )
            refused(result, "minivae: error:")
        assert {name: (out / name).read_bytes() for name in before} == before
        load(out / "model.npz")
        assert not list(out.glob(".*.tmp"))
        succeeded(*train, "--resume")


SMALL_FILES = """
import resource, signal, sys
from minivae.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
sys.exit(main())
"""
