"""`minivae train vqvae2`, the prior of its two levels, and what they can be asked for."""

import json

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, run_until, same_models, succeeded, table

from minivae.cli.views.vqvae import TEMPERATURE
from minivae.models import VQVAE2, VQVAE2Prior, load


def copy(run, folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def levels(tmp_path_factory, data):
    """A VQ-VAE-2 with its prior, and what training the prior printed."""
    out = tmp_path_factory.mktemp("runs") / "levels"
    succeeded("train", "vqvae2", "--data", data, "--out", out, *QUICK["vqvae2"])
    return out, succeeded("train", "prior", out, *QUICK["prior"])


def prior_of(out):
    return VQVAE2Prior(load(out / "prior_top.npz"), load(out / "prior_bottom.npz"))


def test_the_model_leaves_a_run_and_a_table_that_adds_up(runs):
    out, result = runs("vqvae2")
    model = load(out / "model.npz")
    assert isinstance(model, VQVAE2)
    assert (model.codes, model.top_codes, model.code_dim, model.stride, model.channels) == (6, 5, 3, 2, 4)
    for name in ("reconstructions", "training", "codes_top", "codes_bottom", "levels"):
        assert is_picture(out / f"{name}.png")
    rows = table(result.stdout)
    assert [(row["data"], row["prior of the codes"]) for row in rows] == [("train", "uniform"), ("test", "uniform")]
    for row in rows:
        assert float(row["top"]) == pytest.approx(4 * np.log(5), abs=0.01)
        assert float(row["bottom"]) == pytest.approx(16 * np.log(6), abs=0.01)
        assert float(row["bound"]) == pytest.approx(sum(float(row[k]) for k in ("nll", "top", "bottom")), abs=0.016)
    test = json.loads((out / "results.json").read_text())["test"]
    for row in table(result.stdout, "level"):
        level = row["level"]
        assert float(row["perplexity"]) == pytest.approx(test[f"perplexity_{level}"], abs=0.05)
        assert float(row["nll from it alone"]) == pytest.approx(test[f"nll_{level}_alone"], abs=0.01)
    refused(minivae_command("sample", out, "--out", out.parent / "samples.png"), "no prior", "minivae train prior")


def test_the_prior_has_two_parts(levels, data):
    out, result = levels
    model, prior = load(out / "model.npz"), prior_of(out)
    assert prior.codebook_digest == model.codebook_digest
    for name in ("samples", "prior_top_training", "prior_bottom_training"):
        assert is_picture(out / f"{name}.png")
    (row,) = [row for row in table(result.stdout) if row["prior of the codes"] == "PixelCNN"]
    arrays = np.load(data)
    bound = model.bound(arrays["x_test"], prior, arrays["y_test"])
    for column, value in (("bound", bound.nats), ("top", bound.top), ("bottom", bound.bottom)):
        assert float(row[column]) == pytest.approx(value, abs=0.01)
    assert succeeded("evaluate", out).stdout.strip() in result.stdout
    results = json.loads((out / "prior_bottom_results.json").read_text())
    assert results["parameters"] == prior.top.num_parameters() + prior.bottom.num_parameters()


def test_the_table_says_which_share_of_the_samples_is_whole(levels, runs):
    out, result = levels
    found = json.loads((out / "prior_bottom_results.json").read_text())["wholeness"]
    samples = ["samples, uniform prior", "samples, temperature 1", f"samples, temperature {TEMPERATURE:g}"]
    assert list(found) == ["test images", "their reconstructions", *samples]
    for row in table(result.stdout, "images"):
        shares = found.pop(row["images"])
        assert (row["whole"], row["of a certain class"]) == (f"{shares['whole']:.1%}", f"{shares['certain']:.1%}")
    assert not found
    alone, _ = runs("vqvae2")
    assert [*json.loads((alone / "results.json").read_text())["wholeness"]][-1] == samples[0]


def test_pictures_of_it(levels, tmp_path):
    out, _ = levels
    for name, options in {"a": [], "b": ["--seed", "1"], "c": ["--temperature", "0.1"]}.items():
        succeeded("sample", out, "-n", "9", "--out", tmp_path / f"{name}.png", *options)
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in "abc"}) == 3
    succeeded("reconstruct", out, "--out", tmp_path / "reconstructions.png")


def test_a_conditional_prior(runs, tmp_path):
    out = copy(runs("vqvae2")[0], tmp_path / "run", "model.npz", "config.json")
    succeeded("train", "prior", out, "--conditional", *QUICK["prior"])
    assert (prior_of(out).classes, prior_of(out).bottom.context_values) == (3, (5, 3))
    succeeded("train", "prior", out, "--no-conditional", "--mirrored", "--force", *QUICK["prior"])
    assert (prior_of(out).classes, prior_of(out).bottom.context_values) == (None, (5,))
    succeeded("train", "prior", out, "--conditional", "--force", *QUICK["prior"])
    succeeded("sample", out, "-n", "6", "--label", "2")
    refused(minivae_command("sample", out, "--label", "3"), "[0, 3)")


def test_ctrl_c_and_resume_in_either_part(runs, tmp_path):
    """Stopped in the first part and again in the second one, it ends in the files of a training never stopped."""
    out, _ = runs("vqvae2")
    whole, broken = (copy(out, tmp_path / name, "model.npz", "config.json") for name in ("whole", "broken"))
    options = [*QUICK["prior"], "--batch-size", "4", "--epochs", "6"]
    assert "--resume" in run_until(broken / "prior_top.npz", "train", "prior", broken, *options)
    refused(minivae_command("train", "prior", broken, *options), "--force", "--resume")
    assert not (broken / "prior_bottom.npz").exists()
    assert "--resume" in run_until(broken / "prior_bottom.npz", "train", "prior", broken, "--resume", *options)
    succeeded("train", "prior", broken, "--resume", *options)
    succeeded("train", "prior", whole, *options)
    for name in ("prior_top.npz", "prior_bottom.npz"):
        same_models(whole / name, broken / name)


def test_a_prior_of_other_codes_is_refused_or_taken_away(levels, data, tmp_path):
    out, _ = levels
    parts = ("prior_top.npz", "prior_bottom.npz")
    other = tmp_path / "other"
    succeeded("train", "vqvae2", "--data", data, "--out", other, *QUICK["vqvae2"], "--seed", "1")
    for part in parts:
        (other / part).write_bytes((out / part).read_bytes())
    for command in ("sample", "evaluate"):
        refused(minivae_command(command, other), "another codebook", "--force")
    longer = [*QUICK["vqvae2"], "--seed", "1", "--epochs", "3"]
    assert (
        "removed the prior" in succeeded("train", "vqvae2", "--data", data, "--out", other, "--resume", *longer).stdout
    )
    assert not any((other / part).exists() for part in parts)
    succeeded("train", "prior", other, *QUICK["prior"])
    succeeded("train", "vqvae2", "--data", data, "--out", other, *QUICK["vqvae2"], "--force")
    assert not any(path.name.startswith("prior") for path in other.iterdir())


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((6, 8), [], ["height", "multiple of 4, got 6; nearest: 4 and 8"]),
        ((8, 8), ["--stride", "3"], ["stride must be one of 2, 4, 8, 16, got 3"]),
        ((8, 8), ["--stride", "8"], ["a top map needs images of at least 16 x 16, got (1, 8, 8)"]),
        ((8, 8), ["--top-codes", "0"], ["at least 1"]),
    ],
)
def test_bad_sizes_leave_no_run(shape, options, words, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((10, 1, *shape), np.float32))
    out = tmp_path / "run"
    refused(minivae_command("train", "vqvae2", "--data", tmp_path / "x.npy", "--out", out, *options), *words)
    assert not out.exists()


def test_colour_images(tmp_path):
    """Of 64 x 64 pixels: bottom 16 x 16, top 8 x 8."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((12, 3, 64, 64), np.float32))
    out = tmp_path / "run"
    quick = ["--epochs", "1", "--codes", "6", "--top-codes", "5", "--code-dim", "3", "--channels", "4"]
    succeeded("train", "vqvae2", "--data", tmp_path / "x.npy", "--out", out, "--likelihood", "gaussian", *quick)
    model = load(out / "model.npz")
    assert (model.code_shape, model.top_shape) == ((16, 16), (8, 8))
    assert is_picture(out / "levels.png")


@pytest.mark.parametrize("options", [("--quantizer", "fsq"), ("--levels", "8", "5"), ("--stages", "3")])
def test_options_of_other_quantisers_are_refused(data, options, tmp_path):
    out = tmp_path / "run"
    refused(minivae_command("train", "vqvae2", "--data", data, "--out", out, *options), "has no use for", options[0])
    assert not out.exists()
