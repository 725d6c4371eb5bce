"""The command line as a user meets it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from strategies import numbers

import minivae
from minivae.models import VAE, load

PICTURES = ["reconstructions.png", "samples.png", "training.png", "latent.png"]
QUICK = ["--epochs", "2", "--batch-size", "16", "--arch", "dense", "--latent-dim", "4"]


def minivae_command(*args, cwd=None, **options):
    return subprocess.run(
        [sys.executable, "-m", "minivae", *map(str, args)], capture_output=True, text=True, cwd=cwd, **options
    )


def refused(result, *words):
    """One line on stderr, no traceback, exit code 2."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("minivae: error:") or "error:" in lines[-1]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set in a file: 60 training and 20 test images with labels."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    x = numbers(80, 8, 6, low=0, high=1, dtype=np.float32)
    labels = np.arange(80) % 3
    np.savez(path, x_train=x[:60], x_test=x[60:], y_train=labels[:60], y_test=labels[60:])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """A finished run, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    result = minivae_command("train", "vae", "--data", data, "--out", out, *QUICK)
    assert result.returncode == 0, result.stderr
    return out, result


def is_picture(path):
    from matplotlib.image import imread

    image = imread(path)
    assert min(image.shape[:2]) > 100
    assert image[..., :3].std() > 0.01
    return True


class TestTrain:
    def test_leaves_a_run(self, run):
        out, _ = run
        assert all(is_picture(out / name) for name in PICTURES)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [r["epoch"] for r in records] == [1, 2]
        assert {"loss", "nll", "kl", "validation_loss", "images_per_second"} <= records[0].keys()
        config = json.loads((out / "config.json").read_text())
        assert config["latent_dim"] == 4
        assert config["versions"]["minivae"] == minivae.__version__
        assert isinstance(load(out / "model.npz"), VAE)

    def test_prints_plain_lines_and_a_table_that_adds_up(self, run):
        out, result = run
        lines = result.stderr.strip().splitlines()
        assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
        table = [line.split() for line in result.stdout.splitlines()]
        header = next(row for row in table if row[:1] == ["data"])
        for name in ("train", "test"):
            row = dict(zip(header, next(r for r in table if r[:1] == [name]), strict=True))
            assert float(row["ELBO"]) == pytest.approx(-float(row["nll"]) - float(row["kl"]), abs=0.011)
            assert float(row["bits/dim"]) == pytest.approx(-float(row["ELBO"]) / (48 * np.log(2)), abs=1e-3)
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
        test = dict(zip(header, next(r for r in table if r[:1] == ["test"]), strict=True))
        assert float(test["nll"]) == pytest.approx(last["validation_nll"], abs=0.01)

    def test_does_not_overwrite_without_force(self, run, data):
        out, _ = run
        before = (out / "model.npz").read_bytes()
        refused(minivae_command("train", "vae", "--data", data, "--out", out, *QUICK), "--force", str(out))
        assert (out / "model.npz").read_bytes() == before

    def test_force_overwrites(self, run, data, tmp_path):
        (tmp_path / "metrics.jsonl").write_text("old\n")
        result = minivae_command("train", "vae", "--data", data, "--out", tmp_path, "--force", *QUICK)
        assert result.returncode == 0, result.stderr
        assert "old" not in (tmp_path / "metrics.jsonl").read_text()

    def test_one_seed_is_one_model(self, run, data, tmp_path):
        out, _ = run
        for seed, same in (("0", True), ("1", False)):
            again = tmp_path / seed
            minivae_command("train", "vae", "--data", data, "--out", again, "--seed", seed, *QUICK)
            a, b = load(out / "model.npz").state_dict(), load(again / "model.npz").state_dict()
            assert all(np.array_equal(a[k], b[k]) for k in a) == same

    def test_ctrl_c_keeps_the_last_checkpoint_and_resume_goes_on(self, data, tmp_path):
        """A run that is interrupted and resumed ends in the very model of one that was not."""
        options = ["--data", data, "--batch-size", "4", "--epochs", "12", "--latent-dim", "2"]
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        assert minivae_command("train", "vae", "--out", whole, *options).returncode == 0
        command = [sys.executable, "-m", "minivae", "train", "vae", "--out", str(broken), *map(str, options)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        deadline = time.monotonic() + 60
        while not (broken / "model.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert "--resume" in err
        load(broken / "model.npz")
        refused(minivae_command("train", "vae", "--out", broken, *options), "--resume")
        other = [*options[:-1], "3"]
        refused(minivae_command("train", "vae", "--out", broken, "--resume", *other), "--latent-dim was 2, not 3")
        result = minivae_command("train", "vae", "--out", broken, "--resume", *options)
        assert result.returncode == 0, result.stderr
        a, b = load(whole / "model.npz").state_dict(), load(broken / "model.npz").state_dict()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
        epochs = [json.loads(line)["epoch"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
        assert epochs == list(range(1, 13))

    def test_a_run_without_checkpoint_cannot_resume(self, tmp_path):
        refused(minivae_command("train", "vae", "--out", tmp_path, "--resume"), "no run to resume")

    def test_gaussian_convolutional_on_data_outside_the_unit_interval(self, tmp_path):
        np.save(tmp_path / "x.npy", numbers(40, 1, 8, 8, dtype=np.float32))
        out = tmp_path / "run"
        options = ["--likelihood", "gaussian", "--epochs", "1", "--latent-dim", "2"]
        result = minivae_command("train", "vae", "--data", tmp_path / "x.npy", "--out", out, *options)
        assert result.returncode == 0, result.stderr
        assert is_picture(out / "latent.png")


class TestTrainedModels:
    def test_sample_and_reconstruct_write_pictures(self, run, tmp_path):
        out, _ = run
        for command in ("sample", "reconstruct"):
            result = minivae_command(command, out, "-n", "12", "--out", tmp_path / f"{command}.png")
            assert result.returncode == 0, result.stderr
            assert is_picture(tmp_path / f"{command}.png")

    def test_samples_depend_on_the_seed_alone(self, run, tmp_path):
        out, _ = run
        for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
            minivae_command("sample", out / "model.npz", "--seed", seed, "--out", tmp_path / f"{name}.png")
        a, b, c = ((tmp_path / f"{n}.png").read_bytes() for n in "abc")
        assert a == b != c


class TestBadInput:
    def test_unknown_data_set(self, tmp_path):
        refused(
            minivae_command("train", "vae", "--data", "imagenet", "--out", tmp_path / "r"), "imagenet", "fashion-mini"
        )

    @pytest.mark.parametrize(
        "option", [("--epochs", "0"), ("--latent-dim", "0"), ("--batch-size", "0"), ("--lr", "-1")]
    )
    def test_values_out_of_range(self, option, data, tmp_path):
        refused(
            minivae_command("train", "vae", "--data", data, "--out", tmp_path / "r", *option),
            "at least 1" if option[0] != "--lr" else "lr",
        )

    @pytest.mark.parametrize("option", [("--epochs", "many"), ("--arch", "rnn"), ("--likelihood", "poisson")])
    def test_values_that_are_none(self, option):
        refused(minivae_command("train", "vae", *option), option[1])

    def test_nan_in_the_data_is_found_before_training(self, tmp_path):
        x = numbers(40, 1, 8, 8, low=0, high=1)
        x[17, 0, 3, 2] = np.nan
        np.save(tmp_path / "x.npy", x)
        result = minivae_command("train", "vae", "--data", tmp_path / "x.npy", "--out", tmp_path / "r")
        refused(result, "nan", "17")

    def test_truncated_model_and_foreign_file(self, run, tmp_path):
        out, _ = run
        broken = tmp_path / "model.npz"
        broken.write_bytes((out / "model.npz").read_bytes()[:1000])
        refused(minivae_command("sample", broken), "no readable minivae checkpoint")
        refused(minivae_command("sample", tmp_path / "absent"), "absent")

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody can write")
    def test_a_folder_in_which_not_even_root_can_write(self, data):
        refused(minivae_command("train", "vae", "--data", data, "--out", "/proc/self/run", *QUICK), "/proc/self/run")

    def test_unwritable_folder(self, data, tmp_path):
        blocked = tmp_path / "file"
        blocked.write_text("")
        refused(minivae_command("train", "vae", "--data", data, "--out", blocked / "run", *QUICK), "file")
        refused(minivae_command("train", "vae", "--data", data, "--out", blocked, *QUICK), "not empty")
        if os.geteuid() == 0:
            pytest.skip("root writes everywhere")
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(minivae_command("train", "vae", "--data", data, "--out", tmp_path / "locked", *QUICK), "not writable")

    def test_unknown_device(self, data, tmp_path):
        refused(minivae_command("train", "vae", "--data", data, "--out", tmp_path / "r", "--device", "tpu"), "'tpu'")

    def test_no_command(self):
        refused(minivae_command(), "COMMAND")


def test_version_and_info():
    assert minivae_command("--version").stdout == f"minivae {minivae.__version__}\n"
    info = minivae_command("info").stdout
    for word in ("minivae", np.__version__, "BLAS", "threads", "CuPy"):
        assert word in info
