"""`minivae train btcvae` and `minivae disentangle`."""

import json
from argparse import Namespace

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table

import minivae as mv
from minivae.cli.views import btcvae
from minivae.models import load
from minivae.training import evaluate
from minivae.uses import disentanglement, latent_codes

SMALL = ["--epochs", "1", "--latent-dim", "3", "--arch", "dense", "--hidden", "8"]
SHAPES = ["--data", "shapes", "--image-shape", "1", "8", "8"]
FACTORS = ("shape", "scale", "rotation", "x", "y")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the runs of a beta-TC-VAE and of an autoencoder, and what the training of the first printed."""
    folder = tmp_path_factory.mktemp("runs")
    succeeded("train", "ae", *SMALL, *SHAPES, "--out", folder / "ae")
    return folder, succeeded("train", "btcvae", *SMALL, *SHAPES[2:], "--out", folder / "btcvae").stdout


@pytest.fixture(scope="module")
def shapes():
    return mv.datasets.load("shapes", image_shape=(1, 8, 8))


def scores(model, data, seed=0):
    x, factors = (
        np.concatenate([getattr(data, f"{n}_{part}") for part in ("train", "test")]) for n in ("x", "factors")
    )
    return disentanglement(latent_codes(model, x, seed), factors, classes=(0,))


def test_the_model_is_what_was_asked_for(tmp_path, data):
    asked = ["--alpha", "0.5", "--beta", "3", "--gamma", "2", "--sampling", "weighted", "--binarize"]
    succeeded("train", "btcvae", "--data", data, "--out", tmp_path / "run", *QUICK["vae"], *asked)
    found = load(tmp_path / "run" / "model.npz").get_params()
    assert [found[k] for k in ("alpha", "beta", "gamma", "sampling", "binarize")] == [0.5, 3, 2, "weighted", "dynamic"]
    assert not (tmp_path / "run" / "information.png").exists()  # images of unknown factors
    assert "disentanglement" not in json.loads((tmp_path / "run" / "results.json").read_text())


def test_generated_shapes_are_small_unless_asked_for():
    for given, found in (("shapes", None), [1, 16, 16]), (("shapes", [1, 8, 8]), [1, 8, 8]), (("other", None), None):
        args = Namespace(**dict(zip(("data", "image_shape"), given, strict=True)))
        btcvae.COMMANDS[0].complete(args)
        assert args.image_shape == found


def test_the_training_ends_in_the_terms_of_the_kl_and_in_the_scores(trained, shapes):
    folder, printed = trained
    assert "on shapes: 4,000 training and 1,000 test images (1, 8, 8)" in printed  # the data by default
    model = load(folder / "btcvae" / "model.npz")
    terms = evaluate(model, shapes.x_test)
    text = "mutual information {mutual_information:.2f}, total correlation {total_correlation:.2f}, dimension-wise KL"
    assert text.format(**terms) in printed
    expected = scores(model, shapes)
    (row,) = table(printed, "run")[:1]
    assert row == {"run": "btcvae", "MIG": f"{expected.mig:.2f}"} | {
        name: f"{gap:.2f}" for name, gap in zip(FACTORS, expected.information_gaps, strict=True)
    }
    numbers = json.loads((folder / "btcvae" / "results.json").read_text())
    assert numbers["disentanglement"]["sap"] == expected.sap
    assert all(is_picture(folder / "btcvae" / f"{name}.png") for name in ("information", "factors", "traversal"))


def test_runs_are_compared(trained, shapes):
    folder, _ = trained
    runs = [folder / "ae", folder / "btcvae"]
    printed = succeeded("disentangle", *runs, "--seed", "5").stdout
    rows = table(printed, "run")
    models = [load(run / "model.npz") for run in runs]
    found = [scores(model, shapes, seed=5) for model in models]
    assert [row["MIG"] for row in rows[:2]] == [f"{each.mig:.2f}" for each in found]
    text = printed[printed.index("SAP") - 20 :]
    assert all(f"{each.sap:.2f}" in text for each in found)
    terms = evaluate(models[1], shapes.x_test)
    assert f"{-terms['nll'] - terms['kl']:.2f}" in text
    assert is_picture(folder / "ae" / "information.png")
    assert not (folder / "ae" / "factors.png").exists()  # an autoencoder has no prior to say how far to go


def test_generated_shapes_are_drawn_in_the_size_of_the_model(trained):
    folder, _ = trained
    own = succeeded("disentangle", folder / "btcvae").stdout
    assert succeeded("disentangle", folder / "btcvae", "--data", "shapes").stdout == own


def test_the_same_seed_gives_the_same_table(trained):
    folder, _ = trained
    a, b = (succeeded("disentangle", folder / "btcvae").stdout for _ in range(2))
    assert a == b


def test_what_has_no_factors_or_no_latents_is_refused(trained, runs, tmp_path):
    folder, _ = trained
    refused(minivae_command("disentangle", runs("vae")[0]), "known factors", "'shapes'")
    refused(minivae_command("disentangle", runs("vqvae")[0]), "codes are vectors", "VQVAE")
    refused(minivae_command("disentangle", folder / "btcvae", runs("vae")[0]), "other images", "--data")
    refused(minivae_command("disentangle", folder / "btcvae", folder / "btcvae"), "named once")
    refused(minivae_command("disentangle", folder / "btcvae", "--data", "fashion-mini"), "(N, 1, 8, 8)")
    refused(minivae_command("disentangle", tmp_path), "is no run")
    refused(minivae_command("disentangle"), "RUN")
    out = tmp_path / "plain"
    succeeded("train", "ae", *SMALL, *SHAPES, "--latent-dim", "1", "--out", out)
    refused(minivae_command("disentangle", out), "has 1")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--alpha", "-1"], ["alpha"]),
        (["--sampling", "mss"], ["stratified"]),
        (["--free-bits", "1"], ["no use for --free-bits"]),
    ],
)
def test_bad_options_are_refused(option, words, tmp_path):
    refused(minivae_command("train", "btcvae", *SMALL, *option, "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run" / "model.npz").exists()
