"""Output that nobody reads, Ctrl-C at odd moments, and full disks: one true line, and nothing lost."""

import json
import os
import signal
import subprocess
import sys

import pytest
from command_line import QUICK, minivae_command, minivae_process, refused, succeeded

from minivae.training import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and signals of POSIX")


def train(data, out, model="ae"):
    return ["train", model, "--data", data, "--out", out, *QUICK[model]]


def started(*args, **options):
    """The command line with buffered output, as users have it: what is in the buffer is written at the very end."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen([sys.executable, "-m", "minivae", *map(str, args)], env=env, **options)


class TestNobodyReads:
    @pytest.mark.parametrize("which", ["stdout", "both"])
    def test_a_pipe_that_is_closed_after_a_line(self, which, data, tmp_path):
        """As `| head -1` does."""
        out = tmp_path / "run"
        err = subprocess.STDOUT if which == "both" else subprocess.PIPE
        with started(*train(data, out), stdout=subprocess.PIPE, stderr=err) as process:
            process.stdout.readline()
            process.stdout.close()
            rest = process.stderr.read().decode() if process.stderr else ""
        assert process.returncode == 0
        assert all(line.startswith("epoch ") for line in rest.splitlines())
        assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
        assert json.loads((out / "results.json").read_text())["test"]
        assert (out / "latent.png").exists()

    def test_streams_that_are_closed_from_the_start(self, data, tmp_path):
        def close():
            os.close(1)
            os.close(2)

        with started(*train(data, tmp_path / "run"), preexec_fn=close) as process:
            pass
        assert process.returncode == 0
        assert (tmp_path / "run" / "results.json").exists()

    def test_help_that_is_not_read_to_its_end(self):
        read, write = os.pipe()
        os.close(read)
        with started("train", "vae", "--help", stdout=write, stderr=subprocess.PIPE) as process:
            os.close(write)
            assert process.stderr.read() == b""
        assert process.returncode == 0

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_a_full_disk_is_said_after_the_training(self, data, tmp_path):
        with open("/dev/full", "w") as full:
            process = started(*train(data, tmp_path / "run"), stdout=full, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert err.decode().splitlines()[-1] == "minivae: error: stdout: [Errno 28] No space left on device"
        assert (tmp_path / "run" / "results.json").exists()


class TestCtrlC:
    def test_during_import(self):
        """At the first sign of NumPy's compiled part, which makes an ImportError of whatever is raised in it."""
        process = minivae_process("info", env={**os.environ, "PYTHONVERBOSE": "1"})
        for line in process.stderr:
            if "numpy/_core/multiarray" in line:
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate(timeout=60)
        assert err.count("minivae: interrupted\n") == 1
        assert "Traceback (most" not in err
        assert process.returncode == 130

    def test_while_files_are_written_it_says_what_is_on_the_disk(self, data, tmp_path, monkeypatch):
        """In every write of the training in turn: config.json twice, then three files an epoch, then pictures."""
        fsync, told = os.fsync, []
        for at in range(9):
            out, calls = tmp_path / str(at), []

            def interrupt(file, at=at, calls=calls):
                calls.append(file)
                if len(calls) == at + 1:
                    raise KeyboardInterrupt
                fsync(file)

            monkeypatch.setattr(os, "fsync", interrupt)
            result = minivae_command(*train(data, out))
            (line,) = [line for line in result.stderr.splitlines() if not line.startswith("epoch ")]
            assert result.returncode == 130
            assert line.startswith("minivae: interrupted: ")
            assert not list(out.glob(".*")) if out.exists() else True
            if at < 1:
                assert not out.exists()
                assert line.endswith("nothing was begun")
            elif at < 3:
                assert line.endswith("no epoch was done; --resume starts from the beginning")
            else:
                done = len(load_checkpoint(out / "checkpoint.npz")[1]["history"])
                assert f"checkpoint.npz is that of epoch {done}; --resume" in line
                told.append(done)
        assert told == [1, 1, 1, 2, 2, 2]

    def test_where_there_is_nothing_to_resume(self, data, tmp_path, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        result = minivae_command("compress-curve", "--data", data, "--out", tmp_path / "run", "--dims", "2")
        assert (result.returncode, result.stderr) == (130, "minivae: interrupted\n")


AFTER_EPOCH = ["checkpoint.npz", "model.npz", "metrics.jsonl"]


class TestFullDisk:
    @pytest.mark.parametrize("name", ["config.json", *AFTER_EPOCH, "training.png", "results.json", "latent.png"])
    def test_the_file_is_named(self, name, data, tmp_path, monkeypatch):
        replace = os.replace

        def full(source, target):
            if os.path.basename(target) == name:
                raise OSError(28, "No space left on device")
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            result = minivae_command(*train(data, tmp_path / "run"))
        refused(result, "No space left on device", str(tmp_path / "run" / name))
        assert not list(tmp_path.glob("run/.*"))
        if name != "config.json":
            succeeded(*train(data, tmp_path / "run"), "--resume")


HUGE = [10**12, 10**30]
COUNTS = {
    ("train", "vae"): ["--epochs", "--batch-size", "--latent-dim", "--warmup-epochs"],
    ("train", "vqvae"): ["--codes", "--code-dim", "--channels"],
    ("train", "prior", "r"): ["--channels", "--layers"],
    ("sample", "r"): ["-n", "--label"],
    ("reconstruct", "r"): ["-n"],
    ("interpolate", "r"): ["-n", "--steps"],
    ("traverse", "r"): ["-n", "--image"],
    ("manifold", "r"): ["-n"],
    ("denoise", "r"): ["-n"],
    ("probe", "r"): ["--labels"],
    ("evaluate", "r"): ["--samples", "--images"],
    ("anomaly",): ["--normal", "--latent-dim"],
    ("compress-curve",): ["--dims"],
}
SEEDED = [("train", "ae"), ("train", "prior", "r"), ("sample", "r"), ("denoise", "r"), ("probe", "r"), ("anomaly",)]


class TestAbsurdNumbers:
    """Refused by the parser: the run that is named need not be there, and nothing is read or written before."""

    @pytest.mark.parametrize("command", COUNTS, ids=" ".join)
    def test_counts(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for option in COUNTS[command]:
            for value in HUGE:
                refused(minivae_command(*command, option, value), option, "must be at most", str(value))
            for value in ("inf", "nan", "1e30", "10**30"):
                refused(minivae_command(*command, option, value), option, "invalid int value")
            refused(minivae_command(*command, f"{option}=-1"), option)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("command", SEEDED, ids=" ".join)
    def test_seeds(self, command, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(minivae_command(*command, "--seed", 2**64), "--seed", "must be at most")
        refused(minivae_command(*command, "--seed=-1"), "--seed", "must be at least 0, got -1")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
    def test_floats(self, value, data, tmp_path):
        for model, option in [
            ("vae", "lr"),
            ("vae", "beta"),
            ("vae", "free-bits"),
            ("vqvae", "commitment"),
            ("dae", "level"),
        ]:
            command = ["train", model, "--data", data, "--out", tmp_path / "run", f"--{option}={value}"]
            refused(minivae_command(*command), value)
        assert not list(tmp_path.iterdir())

    def test_the_largest_seed_is_one(self, data, tmp_path):
        succeeded(*train(data, tmp_path / "run"), "--seed", 2**64 - 1)
