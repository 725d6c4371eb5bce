"""A slip of the hand is answered with what was probably meant, in one line."""

import pytest
from command_line import minivae_command, refused


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["train", "ae", "--epoch", "3"], "--epochs"),
        (["train", "ae", "--epoch=3"], "--epochs"),
        (["train", "vae", "--latentdim", "3"], "--latent-dim"),
        (["sample", "--sed", "3", "run"], "--seed"),
        (["trian", "vae"], "train"),
        (["train", "vea"], "vae"),
        (["train", "vae", "--arch", "covn"], "conv"),
        (["train", "dae", "--corruption", "mask"], "masking"),
        (["train", "ae", "--data", "fashon-mini"], "fashion-mini"),
    ],
)
def test_what_was_probably_meant(args, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minivae_command(*args)
    refused(result, f"did you mean {meant}?")
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args",
    [
        ["train", "ae", "--codes", "3"],
        ["train", "transformer"],
        ["frobnicate"],
        ["train", "ae", "--data", "imagenet"],
        ["train", "vae", "--likelihood", "xyz"],
    ],
)
def test_nothing_is_made_up(args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = minivae_command(*args)
    refused(result)
    assert "did you mean" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
