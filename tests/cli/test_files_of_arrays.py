"""Commands on images that stay in their .npy files, which small ones are made to do here."""

import os
import re

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, same_models, succeeded

from minivae.data import shards


@pytest.fixture
def folder(tmp_path, data, monkeypatch):
    """The data set of the fixture `data` as a folder of shards, of which no image is read before it is asked for."""
    monkeypatch.setattr(shards, "IN_MEMORY", 0)
    path = tmp_path / "shards"
    path.mkdir()
    with np.load(data) as arrays:
        for name in arrays.files:
            for i, part in enumerate(np.array_split(arrays[name], 3)):
                np.save(path / f"{name}-{i}.npy", part)
    return path


def numbers(out):
    """Leave out of what a command prints what differs between two runs of it: paths, times, names of the data."""
    lines = out.splitlines()
    return [line for line in lines if not re.search(r"images/s|are in|parameters|stand for all|wrote|^prior", line)]


@pytest.mark.parametrize("model", ["vae", "cvae", "sae"])
def test_a_training_ends_in_the_model_and_the_table_of_images_in_memory(tmp_path, runs, folder, model):
    in_memory, before = runs(model)
    done = succeeded("train", model, "--data", folder, "--out", tmp_path / "run", *QUICK[model])
    same_models(tmp_path / "run" / "model.npz", in_memory / "model.npz")
    assert numbers(done.stdout) == numbers(before.stdout)
    assert "60 of 60 training and 20 of 20 test images, at even distances, stand for all" in done.stdout


def test_a_training_goes_on_as_with_images_in_memory(tmp_path, data, folder):
    options = *QUICK["ae"], "--validation", "0.2"
    for name, source in (("in-memory", data), ("in-files", folder)):
        place = "--data", source, "--out", tmp_path / name
        succeeded("train", "ae", *place, *options)
        done = succeeded("train", "ae", *place, *options, "--epochs", "3", "--resume")
        assert "48 training, 12 validation and 20 test images" in done.stdout
    same_models(tmp_path / "in-memory" / "model.npz", tmp_path / "in-files" / "model.npz")
    np.save(folder / "x_train-1.npy", np.load(folder / "x_train-1.npy") / 2)
    changed = minivae_command("train", "ae", *place, *options, "--epochs", "4", "--resume")
    refused(changed, "x_train of 'shards' changed since the run was begun")


def test_commands_on_a_run(tmp_path, folder):
    run = tmp_path / "run"
    succeeded("train", "vae", "--data", folder, "--out", run, *QUICK["vae"])
    for command in ("evaluate", "reconstruct", "interpolate", "sample", "probe", "denoise", "report"):
        succeeded(command, run)
    succeeded("traverse", run, "--image", "3")
    few = "--models", "ae", "--epochs", "1"
    succeeded("anomaly", "--data", folder, *few, "--false-alarms", "0.3", "--out", tmp_path / "anomaly")
    succeeded("compress-curve", "--data", folder, *few, "--dims", "2", "--out", tmp_path / "curve")


def test_a_prior(tmp_path, folder, with_prior):
    in_memory, before = with_prior
    run = tmp_path / "run"
    succeeded("train", "vqvae", "--data", folder, "--out", run, *QUICK["vqvae"])
    done = succeeded("train", "prior", run, *QUICK["prior"])
    same_models(run / "prior.npz", in_memory / "prior.npz")
    assert numbers(done.stdout) == numbers(before.stdout)
    assert "wrote 20 images as codes" in succeeded("compress", run, folder, tmp_path / "images.mvc").stdout
    refused(minivae_command("train", "prior", run, *QUICK["prior"], "--mirrored", "--force"), "images in memory")


def test_what_is_wrong_with_a_file_is_one_line(tmp_path, folder):
    options = "train", "ae", "--data", folder, "--out", tmp_path / "run", *QUICK["ae"]
    x = np.load(folder / "x_train-1.npy")
    x[7, 2, 3] = np.nan
    np.save(folder / "x_train-1.npy", x)
    refused(minivae_command(*options), "x_train-1.npy' must be finite: there is nan at index (7, 2, 3)")
    np.save(folder / "x_train-1.npy", x[:, 1:])
    refused(minivae_command(*options), "has examples of shape (7, 8) and dtype float32", "of (8, 8) and float32")
    os.truncate(folder / "x_train-1.npy", 300)
    refused(minivae_command(*options), "x_train-1.npy' is no readable .npy file")
    for path in folder.iterdir():
        path.unlink()
    refused(minivae_command(*options), "must hold PNG files")
