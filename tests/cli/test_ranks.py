"""minivae train under mpiexec: one training, whose files, words and errors are those of one process."""

from __future__ import annotations

import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import ranks
from command_line import QUICK, minivae_command, same_models, succeeded

from minivae.training import load_checkpoint

VAE = ("train", "vae", *QUICK["vae"])


def on(count: int, *words: object, module: tuple[str, ...] = ()) -> tuple[int, str, str]:
    return ranks.run(count, *module, "-m", "minivae", *map(str, words))


@pytest.mark.parametrize(("count", "module"), [(2, ("-m", "mpi4py")), (4, ())])
def test_the_files_and_the_words_are_those_of_one_process(
    tmp_path: Path, data: Path, count: int, module: tuple[str, ...]
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    alone = succeeded(*VAE, "--data", data, "--shards", 4, "--out", one)
    code, out, err = on(count, *VAE, "--data", data, "--shards", 4, "--out", several, module=module)
    assert code == 0, err
    assert len(err.splitlines()) == 2  # one for each epoch
    assert len(out.splitlines()) == len(alone.stdout.splitlines())
    assert sorted(path.name for path in several.iterdir()) == sorted(path.name for path in one.iterdir())
    same_models(one / "model.npz", several / "model.npz")


def test_a_prior_learns_the_codes_of_all_ranks(tmp_path: Path, data: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "several"]
    for out in folders:
        succeeded("train", "vqvae", *QUICK["vqvae"], "--data", data, "--out", out)
    succeeded("train", "prior", folders[0], *QUICK["prior"], "--shards", 4)
    code, _, err = on(2, "train", "prior", folders[1], *QUICK["prior"], "--shards", 4)
    assert code == 0, err
    same_models(*(folder / "prior.npz" for folder in folders))


def test_a_run_is_resumed_by_another_number_of_ranks(tmp_path: Path, data: Path) -> None:
    """The cosine of a longer training differs, so both trainings are made longer after two epochs."""
    one, several = tmp_path / "one", tmp_path / "several"
    for out in (one, several):
        succeeded(*VAE, "--data", data, "--shards", 4, "--out", out)
    longer = (*VAE, "--data", data, "--shards", 4, "--epochs", 4, "--resume", "--out")
    succeeded(*longer, one)
    code, _, err = on(4, *longer, several)
    assert code == 0, err
    same_models(one / "model.npz", several / "model.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*VAE, "--out", "{full}"), "is not empty; --force overwrites it, --resume goes on with it"),
        ((*VAE, "--out", "{new}", "--bogus", 3), "'train vae' has no use for --bogus 3"),
        ((*VAE, "--out", "{new}", "--lr", 1e30), "a smaller learning rate may help"),
        (("evaluate", "{full}"), "'evaluate' is the work of one process, got 2 ranks of mpiexec"),
    ],
)
def test_an_error_is_told_once(tmp_path: Path, data: Path, words: tuple[object, ...], message: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "note.txt").write_text("mine")
    places = {"{full}": full, "{new}": tmp_path / "new"}
    words = tuple(places.get(str(word), word) for word in words)
    code, _, err = on(2, *words, *(("--data", data) if words[0] == "train" else ()))
    assert code
    assert err.count("error:") == 1
    assert message in err
    assert [path.name for path in full.iterdir()] == ["note.txt"]


def test_ctrl_c_is_told_once_and_keeps_the_last_epoch(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "run"
    process = ranks.start(2, "-m", "minivae", *VAE, "--data", data, "--epochs", "100000", "--out", out)
    assert process.stderr is not None
    line = "epoch"
    while line and not line.startswith("epoch 2/"):  # which is told after the checkpoint of epoch 1
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    done = len(load_checkpoint(out / "checkpoint.npz")[1]["history"])
    assert err.count("interrupted") == 1
    assert f"is that of epoch {done}; --resume goes on from there" in err


def test_info_names_the_mpi() -> None:
    expected = r"(\S+ .*\d.*, mpi4py \d|mpi4py \d\S* finds no)" if find_spec("mpi4py") else "mpi4py is not installed"
    assert re.search(rf"^MPI +{expected}", minivae_command("info").stdout, re.MULTILINE)
