"""`minivae train vqvae --quantizer ...` and what follows it: the prior, samples, tables and pictures of each."""

import json

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table

from minivae.models import load

SMALL = ["--epochs", "2", "--batch-size", "16", "--channels", "4"]
KINDS = {
    "fsq": [*SMALL, "--quantizer", "fsq", "--levels", "4", "3"],
    "rvq": [*SMALL, "--quantizer", "rvq", "--codes", "6", "--code-dim", "3", "--stages", "3"],
}


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request, tmp_path_factory, data):
    """kind, folder, what the training of the model printed, and that of its prior."""
    out = tmp_path_factory.mktemp("runs") / request.param
    model = succeeded("train", "vqvae", "--data", data, "--out", out, *KINDS[request.param])
    return request.param, out, model.stdout, succeeded("train", "prior", out, *QUICK["prior"]).stdout


def test_the_model_is_what_was_asked_for(trained):
    kind, out, *_ = trained
    model = load(out / "model.npz")
    assert model.get_params()["quantizer"] == kind
    assert model.quantizer.codes == (12 if kind == "fsq" else 6)
    assert model.code_shape == ((2, 2) if kind == "fsq" else (3, 2, 2))


def test_pictures(trained):
    kind, out, *_ = trained
    names = ["codes", "reconstructions", "samples", "training", *(["stages"] if kind == "rvq" else [])]
    assert all(is_picture(out / f"{name}.png") for name in names)
    assert (out / "stages.png").exists() == (kind == "rvq")


def test_the_table_adds_up_and_is_printed_again(trained, data):
    kind, out, printed, with_prior = trained
    cost = np.log(12) * 4 if kind == "fsq" else np.log(6) * 12
    assert [float(row["codes"]) for row in table(printed)] == pytest.approx([cost, cost], abs=0.01)
    (row,) = [row for row in table(with_prior) if row["prior of the codes"] == "PixelCNN"]
    arrays = np.load(data)
    bound = load(out / "model.npz").bound(arrays["x_test"], load(out / "prior.npz"), arrays["y_test"])
    assert float(row["bound"]) == pytest.approx(bound.nats, abs=0.01)
    assert succeeded("evaluate", out).stdout.strip() in with_prior


def test_stages_have_a_table_of_their_own(trained, data):
    kind, out, printed, _ = trained
    if kind == "fsq":
        assert "stage" not in printed
        assert "of 12 codes used on the test images" in printed
        return
    model, x = load(out / "model.npz"), np.load(data)["x_test"]
    codes = model.encode(x)
    rows = table(printed, "stage")
    assert [row["stage"] for row in rows] == ["1", "2", "3"]
    for s, row in enumerate(rows):
        error = ((model.decode(codes[:, : s + 1]) - x[:, None]) ** 2).sum(axis=(1, 2, 3)).mean()
        assert float(row["squared error"]) == pytest.approx(error, abs=0.011)
        assert row["codes used"] == f"{len(np.unique(codes[:, s])) / 6:.1%}"
    found = json.loads((out / "results.json").read_text())["test"]["stages"]
    assert found["3"]["usage"] == len(np.unique(codes[:, 2])) / 6


def test_sample_and_reconstruct(trained, data, tmp_path):
    _, out, *_ = trained
    for name, command in {"a": ["sample", "-n", "4"], "b": ["reconstruct", "--data", data]}.items():
        succeeded(command[0], out, *command[1:], "--out", tmp_path / f"{name}.png")
        assert is_picture(tmp_path / f"{name}.png")


def test_files_hold_finite_scalar_codes_and_refuse_those_of_several_stages(trained, data, tmp_path):
    kind, out, *_ = trained
    result = minivae_command("compress", out, data, tmp_path / "c")
    if kind == "rvq":
        refused(result, "residual quantiser", "(3, 2, 2)")
        assert not (tmp_path / "c").exists()
        return
    succeeded("decompress", out, tmp_path / "c", tmp_path / "x.npy", "--codes", tmp_path / "k.npy")
    model = load(out / "model.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), model.encode(np.load(data)["x_test"]))
    y = np.load(data)["y_test"]
    nats = model.code_cost(np.load(tmp_path / "k.npy"), load(out / "prior.npz"), y).sum() + 20 * np.log(3)
    assert f"{nats:,.1f} nats" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--levels", "8", "5"], ["levels belongs to quantizer='fsq'", "'vq'"]),
        (["--stages", "2"], ["stages belongs to quantizer='rvq'"]),
        (["--quantizer", "fsq", "--codes", "16"], ["codes belongs to", "'fsq'"]),
        (["--quantizer", "rvq", "--levels", "4"], ["levels belongs to"]),
        (["--quantizer", "fsq", "--levels", "8", "1"], ["must be at least 2, got 1"]),
        (["--quantizer", "fsq", "--levels"], ["expected at least one argument"]),
        (["--quantizer", "fsq", "--levels", "999", "999"], ["at most 65,536 codes"]),
        (["--quantizer", "rvq", "--stages", "0"], ["must be at least 1, got 0"]),
        (["--quantizer", "rqv"], ["rvq"]),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(options, words, data, tmp_path):
    out = tmp_path / "run"
    refused(minivae_command("train", "vqvae", "--data", data, "--out", out, *options), *words)
    assert not out.exists()


def test_a_run_of_before_goes_on(data, tmp_path):
    """Its config.json and checkpoint know of no quantiser."""
    out, options = tmp_path / "run", ["--data", data, *QUICK["vqvae"]]
    succeeded("train", "vqvae", "--out", out, *options)
    config = json.loads((out / "config.json").read_text())
    for name in ("quantizer", "levels", "stages"):
        del config[name]
    (out / "config.json").write_text(json.dumps(config))
    succeeded("train", "vqvae", "--out", out, *options, "--epochs", "3", "--resume")
    other = ["--epochs", "3", "--resume", "--quantizer", "rvq"]
    refused(minivae_command("train", "vqvae", "--out", out, *options, *other), "--quantizer was vq, not rvq")


def test_a_finite_scalar_model_that_is_trained_on_loses_its_prior(data, tmp_path):
    out, options = tmp_path / "run", ["--data", data, *KINDS["fsq"]]
    succeeded("train", "vqvae", "--out", out, *options)
    succeeded("train", "prior", out, *QUICK["prior"])
    assert (
        "removed the prior" in succeeded("train", "vqvae", "--out", out, *options, "--epochs", "3", "--resume").stdout
    )
    assert not (out / "prior.npz").exists()
