"""Two trainings into one folder: the second is refused while the first lives, and only so long."""

import os
import subprocess
import sys

import pytest
from command_line import QUICK, minivae_command, refused, succeeded

from minivae.cli import lock
from minivae.cli.lock import locked

TRAININGS = {
    "train": lambda data, out: ["train", "ae", "--data", data, "--out", out, *QUICK["ae"]],
    "prior": lambda data, out: ["train", "prior", out, *QUICK["prior"]],
    "anomaly": lambda data, out: ["anomaly", "--data", data, "--out", out, *QUICK["ae"]],
    "curve": lambda data, out: ["compress-curve", "--data", data, "--out", out, "--dims", "2", "--epochs", "1"],
}
HOLD = """
import sys
from pathlib import Path
from minivae.cli.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("runs") / "vqvae"
    succeeded("train", "vqvae", "--data", data, "--out", out, *QUICK["vqvae"])
    return out


def holder(folder):
    """Another process that holds the folder until its stdin is closed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"locked"
    return process


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("how", [[], ["--force"], ["--resume"]], ids=lambda how: "".join(how) or "plain")
def test_the_second_is_refused_in_one_sentence(training, how, data, vqvae):
    if (training, how) == ("curve", ["--resume"]):
        pytest.skip("has no --resume")
    before = {path.name: path.read_bytes() for path in vqvae.iterdir()}
    with locked(vqvae):
        result = minivae_command(*TRAININGS[training](data, vqvae), *how)
        refused(result, str(vqvae), "another training is under way")
        assert len(result.stderr.splitlines()) == 1
        assert not result.stdout
    assert {path.name: path.read_bytes() for path in vqvae.iterdir()} == before


def test_looking_at_a_run_is_not_refused(vqvae, tmp_path):
    with locked(vqvae):
        succeeded("reconstruct", vqvae, "--out", tmp_path / "a.png")
        succeeded("evaluate", vqvae)


def test_a_process_that_is_killed_leaves_no_lock_but_its_file(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(ValueError, match="another training"), locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path) as killed:
        assert killed
    assert not list(tmp_path.iterdir())
    with locked(tmp_path) as killed:
        assert not killed


def test_a_process_that_ends_gives_it_back(tmp_path):
    process = holder(tmp_path)
    process.communicate(b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_that_is_removed_while_it_is_opened_is_not_held(tmp_path, monkeypatch):
    """Between open() and the lock the first training ends and removes the file, and a third one makes a new one."""
    lock_it, third = lock._lock, []

    def meanwhile(file, path):
        monkeypatch.setattr(lock, "_lock", lock_it)
        path.unlink()
        third.append(locked(tmp_path))
        third[0].__enter__()
        lock_it(file, path)

    monkeypatch.setattr(lock, "_lock", meanwhile)
    with pytest.raises(ValueError, match="another training"), locked(tmp_path):
        pass
    third[0].__exit__(None, None, None)
    with locked(tmp_path):
        pass


def test_folders_that_were_made_for_nothing_are_removed(tmp_path):
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a" / "b" / "c"):
        assert (tmp_path / "a" / "b" / "c" / ".lock").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
    with locked(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "b" / "c" / "kept").touch()
    assert (tmp_path / "a" / "b" / "c" / "kept").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="of flock")
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    import errno
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path):
        pass
    assert "cannot be locked" in capsys.readouterr().err


@pytest.mark.parametrize("how", [[], ["--force"], ["--resume"]], ids=lambda how: "".join(how) or "plain")
def test_a_file_in_the_place_of_the_folder(how, data, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    refused(minivae_command(*TRAININGS["train"](data, path), *how), "is a file", str(path))
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["file"]
