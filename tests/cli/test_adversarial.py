"""`minivae train vaegan` and `train vqgan`: records, tables, pictures, the prior, --resume and bad input."""

import json

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, same_models, succeeded, table

from minivae.models import VAEGAN, VQGAN, load

SHARP = ("images", "whole", "of a certain class", "sharpness", "Frechet distance")


@pytest.mark.parametrize(("name", "kind"), [("vaegan", VAEGAN), ("vqgan", VQGAN)])
def test_records_table_and_pictures(name, kind, runs):
    out, result = runs(name)
    assert isinstance(load(out / "model.npz"), kind)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert ["real" in record and "made" in record for record in records] == [False, True]
    rows = table(result.stdout, "images")
    assert tuple(rows[0]) == SHARP
    assert rows[0]["images"] == "test images"
    assert float(rows[0]["sharpness"]) == 1
    assert float(rows[0]["Frechet distance"]) == pytest.approx(0, abs=0.01)
    found = json.loads((out / "results.json").read_text())["wholeness"]
    assert [*found] == [row["images"] for row in rows]
    assert float(rows[-1]["sharpness"]) == pytest.approx(found[rows[-1]["images"]]["sharpness"], abs=0.006)
    assert "it is not the FID" in result.stdout
    assert succeeded("evaluate", out).stdout.strip() in result.stdout
    assert all(is_picture(out / f"{picture}.png") for picture in ("reconstructions", "training"))
    assert (out / "samples.png").exists() == (name == "vaegan")


def test_a_vqgan_has_a_prior_as_a_vqvae_has(runs, tmp_path):
    out, _ = runs("vqgan")
    (tmp_path / "run").mkdir()
    for file in ("model.npz", "config.json"):
        (tmp_path / "run" / file).write_bytes((out / file).read_bytes())
    result = succeeded("train", "prior", tmp_path / "run", *QUICK["prior"])
    assert is_picture(tmp_path / "run" / "samples.png")
    assert table(result.stdout, "images")[-1]["images"] == "samples, temperature 0.7"


@pytest.mark.parametrize("name", ["vaegan", "vqgan"])
def test_without_a_start_the_run_is_the_plain_models(name, data, runs, tmp_path):
    plain = {"vaegan": "vae", "vqgan": "vqvae"}[name]
    result = succeeded(
        *("train", name, "--data", data, "--out", tmp_path / "gan", *QUICK[plain]),
        *("--discriminator-start", "2", "--discriminator-channels", "4"),
    )
    assert "the discriminator never begins" in result.stdout
    mine, theirs = load(tmp_path / "gan" / "model.npz").state_dict(), load(runs(plain)[0] / "model.npz").state_dict()
    for key, array in theirs.items():
        np.testing.assert_array_equal(mine[key], array, err_msg=key)


def test_a_longer_training_resumes(data, tmp_path):
    name = "vaegan"
    for out in ("a", "b"):
        succeeded("train", name, "--data", data, "--out", tmp_path / out, *QUICK[name])
    longer = [*QUICK[name], "--epochs", "3", "--resume"]
    for out in ("a", "b"):
        succeeded("train", name, "--data", data, "--out", tmp_path / out, *longer)
    same_models(tmp_path / "a" / "model.npz", tmp_path / "b" / "model.npz")
    other = [*QUICK[name], "--gan-weight", "0.7", "--resume"]
    refused(minivae_command("train", name, "--data", data, "--out", tmp_path / "a", *other), "--gan-weight was 0.5")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gan-weight", "-1"], ["gan_weight", "-1"]),
        (["--gan-weight", "nan"], ["gan_weight", "nan"]),
        (["--feature-weight", "-0.5"], ["feature_weight", "-0.5"]),
        (["--discriminator-start", "-1"], ["--discriminator-start", "at least 0"]),
        (["--discriminator-channels", "4", "4", "4", "4"], ["too small for 4 convolutions"]),
        (["--discriminator-channels", "0"], ["--discriminator-channels", "at least 1"]),
        (["--adversary", "wasserstein"], ["--adversary", "wasserstein"]),
        (["--validation", "0.2", "--patience", "2"], ["--patience", "plain model"]),
    ],
    ids=lambda value: value[0].strip("-") if value[0].startswith("--") else "",
)
def test_bad_input_is_one_line_and_writes_nothing(options, words, data, tmp_path):
    out = tmp_path / "run"
    refused(minivae_command("train", "vaegan", "--data", data, "--out", out, *options), *words)
    assert not out.exists() or not [p for p in out.iterdir() if p.name != ".lock"]
