"""A training that is killed, wherever that is, and goes on with --resume leaves what one leaves that was not killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import QUICK, minivae_command, minivae_process, refused, succeeded
from matplotlib.figure import Figure

TIMES = ("seconds", "images_per_second")
TRAININGS = ["ae", "vae", "vqvae", "vaegan", "prior", "anomaly"]


class Killed(BaseException):
    """What SIGKILL is to a process, as far as files show it."""


class Kill:
    """Ends a training before change number `at` to the disk; nothing is changed from then on, not even by `finally`.

    Changes are renamed and removed files: whatever is written is written under another name first.
    """

    def __init__(self, patch: pytest.MonkeyPatch, at: float) -> None:
        self.at, self.changes = at, 0
        for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "rmdir")):
            patch.setattr(owner, name, self.counted(name, getattr(owner, name)))

    def counted(self, name: str, change: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if name == "unlink" and not os.path.lexists(args[0]):
                return change(*args, **options)  # changes nothing
            self.changes += 1
            if self.changes <= self.at:
                return change(*args, **options)
            raise Killed

        return call


@pytest.fixture
def not_drawn(monkeypatch):
    """Pictures are files of what would be drawn, as drawing takes longer than all the rest."""

    def save(figure, file, **options):
        parts = [
            part
            for axes in figure.axes
            for part in (
                *(image.get_array() for image in axes.images),
                *(line.get_xydata() for line in axes.lines),
                *(points.get_offsets() for points in axes.collections),
            )
        ]
        file.write(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))

    monkeypatch.setattr(Figure, "savefig", save)


def command(training, data, out):
    """The command of a training without --out, and its options."""
    if training == "prior":
        return ["train", "prior", out, *QUICK["prior"]]
    options = ["--data", data, "--out", out, *QUICK[training if training in QUICK else "ae"]]
    if training == "patience":
        return ["train", "ae", *options, "--validation", "0.2", "--patience", "2", "--lr", "0.05", "--epochs", "20"]
    return ["anomaly", "--false-alarms", "0.2", *options] if training == "anomaly" else ["train", training, *options]


def prepared(training, data, out):
    """Whatever the training needs in its folder."""
    if training == "prior":
        succeeded(*command("vqvae", data, out))
    return out


def contents(folder):
    """The files of a run, byte by byte but for times, and but for checkpoints, whose records have times."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        if path.suffix in (".json", ".jsonl"):
            records = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[path.name] = [{k: v for k, v in json.loads(r).items() if k not in TIMES} for r in records]
        elif path.suffix == ".html":
            found[path.name] = [line for line in path.read_text().splitlines() if 'class="times"' not in line]
        else:
            found[path.name] = path.read_bytes()
    return {name: content for name, content in found.items() if not name.endswith("checkpoint.npz")}


def killed(at, *args):
    """Whether a command that is killed before change number `at` came so far."""
    with pytest.MonkeyPatch.context() as patch:
        Kill(patch, at)
        try:
            succeeded(*args)
        except Killed:
            return True
        return False


def numbers(result):
    """What is printed from the empty line before the table to the line of times."""
    text = result.stdout.partition("\n\n")[2]
    return [line for line in text.splitlines() if "images/s" not in line and " in " not in line]


def sweep(training, data, tmp_path, old=None):
    """Kill a training at each change in turn and compare what --resume makes of it with the whole one: how many."""
    whole = prepared(training, data, tmp_path / "whole")
    printed = numbers(succeeded(*command(training, data, whole)))
    expected = contents(whole)
    assert printed
    for at in count():
        out = tmp_path / f"killed-{at}"
        prepared(training, data, out) if old is None else shutil.copytree(old, out)
        args = command(training, data, out)
        if not killed(at, *args, *["--force"] * (old is not None)):
            return at
        if old is not None and at == 0:
            assert contents(out).items() >= contents(old).items()  # and a temporary file, a lock
            refused(minivae_command(*args, "--resume"), "--lr was 0.1")
            continue
        assert numbers(succeeded(*args, "--resume")) == printed
        assert contents(out) == expected, f"killed at change {at}"
    raise AssertionError


class TestEveryChange:
    """In this process. Between two changes nothing happens to the files."""

    def test_of_an_autoencoder(self, data, tmp_path, not_drawn):
        assert sweep("ae", data, tmp_path) > 10

    def test_of_one_that_overwrites_another(self, data, tmp_path, not_drawn):
        """Until its options are noted the old run is whole, and is not gone on with by a training with other ones."""
        old = tmp_path / "old"
        succeeded(*command("ae", data, old), "--seed", "7", "--lr", "0.1")
        (old / "manifold.png").write_bytes(b"of the old run")
        assert sweep("ae", data, tmp_path, old) > 15

    def test_of_one_that_is_made_longer(self, data, tmp_path, not_drawn):
        old = tmp_path / "old"
        succeeded(*command("ae", data, old))

        def longer(out):
            return [*command("ae", data, out), "--epochs", "4", "--resume"]

        whole = shutil.copytree(old, tmp_path / "whole")
        succeeded(*longer(whole))
        for at in count():
            out = shutil.copytree(old, tmp_path / f"killed-{at}")
            if not killed(at, *longer(out)):
                break
            succeeded(*longer(out))
            assert contents(out) == contents(whole), f"killed at change {at}"
        assert at > 10

    @pytest.mark.slow
    def test_of_one_that_was_killed_before(self, data, tmp_path, not_drawn):
        whole = tmp_path / "whole"
        succeeded(*command("ae", data, whole))
        for first in count():
            once = tmp_path / f"{first}"
            if not killed(first, *command("ae", data, once)):
                break
            for second in count():
                out = shutil.copytree(once, tmp_path / f"{first}-{second}")
                args = [*command("ae", data, out), "--resume"]
                if not killed(second, *args):
                    break
                succeeded(*args)
                assert contents(out) == contents(whole), f"killed at changes {first} and {second}"

    @pytest.mark.slow
    @pytest.mark.parametrize("training", ["vae", "vqvae", "vaegan", "prior", "anomaly", "patience"])
    def test_of_the_others(self, training, data, tmp_path, not_drawn):
        assert sweep(training, data, tmp_path) > 10


def test_what_a_killed_training_leaves_is_not_in_the_way_of_a_new_one(data, tmp_path, not_drawn):
    """A lock and a temporary file, before the first file of the run is there."""
    out = tmp_path / "run"
    killed(0, *command("ae", data, out))
    assert sorted(path.suffix or path.name for path in out.iterdir()) == [".lock", ".tmp"]
    succeeded(*command("ae", data, out))
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_a_model_without_its_checkpoint_is_not_started_over(data, tmp_path, not_drawn):
    out = tmp_path / "run"
    succeeded(*command("ae", data, out))
    (out / "checkpoint.npz").unlink()
    before = contents(out)
    refused(minivae_command(*command("ae", data, out), "--resume"), "no run to resume")
    assert contents(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
class TestRealKills:
    def start_and_kill(self, delay, args):
        process = minivae_process(*args)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)

    @pytest.mark.slow
    @pytest.mark.parametrize("training", TRAININGS)
    def test_at_any_time(self, training, data, tmp_path):
        whole = prepared(training, data, tmp_path / "whole")
        start = time.monotonic()
        _, err = (process := minivae_process(*command(training, data, whole))).communicate(timeout=120)
        assert process.returncode == 0, err
        duration, expected = time.monotonic() - start, contents(whole)
        for i in range(25):
            out = prepared(training, data, tmp_path / f"killed-{i}")
            args = command(training, data, out)
            self.start_and_kill(duration * (0.2 + 0.8 * i / 25), args)
            config = "prior_config.json" if training == "prior" else "config.json"
            begun = (out / ".lock").exists() or (out / config).exists()
            succeeded(*args, *["--resume"] * begun)
            assert contents(out) == expected, f"killed after {i} of 25 parts"
