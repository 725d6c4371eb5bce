"""report.html of every training and of `minivae report RUN`."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from command_line import QUICK, minivae_command, refused, same_models, succeeded, table

from minivae.cli.reports import command_line
from minivae.cli.runs import PICTURES, SOUNDS
from minivae.cli.text import kept, print_table
from minivae.cli.views.registry import COMMANDS
from minivae.report import ABOUT, CAPTIONS


def written(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", ["ae", "vae", "cvae", "vqvae"])
def test_a_training_leaves_a_page_with_all_its_pictures(model, runs):
    out, done = runs(model)
    text = written(out)
    pictures = list(out.glob("*.png"))
    assert text.count("<figure>") == text.count("<figcaption>") == text.count("<img") == len(pictures) > 2
    for path in pictures:
        assert CAPTIONS[path.stem][0] in text
    assert "report.html" in done.stdout
    for value in table(done.stdout)[-1].values():
        assert f">{value}</td>" in text
    assert len(text) < 3_000_000


def test_every_picture_and_sound_and_every_model_has_words():
    assert {*PICTURES, *SOUNDS} <= CAPTIONS.keys()
    assert {command.name for command in COMMANDS} | {"prior", "anomaly", "compress-curve"} <= ABOUT.keys()


def test_the_same_page_again_and_elsewhere(runs, tmp_path):
    out, _ = runs("ae")
    before = written(out)
    succeeded("report", out, "--out", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == before
    copy = shutil.copytree(out, tmp_path / "run")
    (copy / "report.html").unlink()
    assert f"wrote {copy / 'report.html'}" in succeeded("report", copy).stdout
    assert written(copy) == before
    assert str(out) not in before  # a run may be moved


def test_of_a_prior_both_are_on_the_page(with_prior):
    out, done = with_prior
    text = written(out)
    assert {"training.png", "prior_training.png", "samples.png"} <= {path.name for path in out.glob("*.png")}
    assert text.count("<figure>") == len(list(out.glob("*.png")))
    assert "Course of the training (prior)" in text
    assert "minivae train prior RUN" in text
    for value in table(done.stdout)[-1].values():
        assert f">{value}</td>" in text


def test_of_anomaly_and_compress_curve(data, tmp_path):
    options = ["--data", data, "--models", "ae", "--epochs", "2", "--batch-size", "16"]
    succeeded("anomaly", *options, "--latent-dim", "4", "--false-alarms", "0.2", "--out", tmp_path / "a")
    succeeded("compress-curve", *options, "--dims", "2", "--out", tmp_path / "c")
    for folder, title in ((tmp_path / "a", "The strangest images"), (tmp_path / "c", "PSNR over the length")):
        text = written(folder)
        assert title in text
        assert "<td" in text
        assert text.count("<img") == len(list(folder.glob("*.png")))


@pytest.mark.parametrize("model", ["vae", "vqvae"])
def test_the_command_on_the_page_makes_the_same_model(model, runs, tmp_path):
    out, _ = runs(model)
    command = command_line(json.loads((out / "config.json").read_text()))
    shown = re.sub(r"<[^>]+>", "", written(out))
    assert command in shown
    name, *args = shlex.split(command)
    assert name == "minivae"
    succeeded(*args, "--out", tmp_path / "again")
    same_models(out / "model.npz", tmp_path / "again" / "model.npz")


def test_the_command_of_odd_options():
    config = {"model": "vae", "data": "my images.npz", "hidden": [], "binarize": True, "mirrored": False, "lr": 1e-05}
    expected = "minivae train vae --data 'my images.npz' --hidden --binarize --no-mirrored --lr 1e-05"
    assert command_line({**config, "patience": None, "versions": {"python": "3"}}) == expected
    assert command_line({"epochs": 2}) == "minivae train prior RUN --epochs 2"


def test_a_training_that_was_killed_has_a_page(runs, tmp_path):
    """Before its end there is no table."""
    out = shutil.copytree(runs("ae")[0], tmp_path / "run")
    for name in ("table.txt", "results.json", "report.html"):
        (out / name).unlink()
    succeeded("report", out)
    assert "no table of the model" in written(out)


def test_refused(runs, tmp_path):
    refused(minivae_command("report", tmp_path), "is no run", "config.json")
    refused(minivae_command("report", tmp_path / "missing" / "model.npz"), "is no run")
    out = shutil.copytree(runs("ae")[0], tmp_path / "run")
    refused(minivae_command("report", out, "--out", tmp_path / "no" / "page.html"), "page.html")
    (out / "metrics.jsonl").write_text("{")
    refused(minivae_command("report", out), "metrics.jsonl")


def test_force_removes_the_page_with_the_run(data, tmp_path):
    """A training that fails after it has begun leaves no page about another one."""
    out = tmp_path / "run"
    options = ["train", "ae", "--data", data, "--out", out, *QUICK["ae"]]
    succeeded(*options)
    refused(minivae_command(*options, "--lr", "1e30", "--clip-norm", "1e30", "--force"), "became nan")
    assert not (out / "report.html").exists()
    assert not (out / "table.txt").exists()


def test_what_is_kept_is_printed_too(capsys):
    with kept() as text:
        print_table(["a", "b"], [["x", "1"]])
    assert text.getvalue() == capsys.readouterr().out == "a  b\n-  -\nx  1\n"
    assert isinstance(text, io.StringIO)


def test_what_is_no_run_is_named_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(minivae_command("report", "nothere"), "'nothere'", "does not exist")
    assert not list(tmp_path.iterdir())
