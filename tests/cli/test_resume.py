"""`--resume` with something else than the training had: said, and nothing changed."""

import json
import shutil

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, same_models, succeeded

from minivae.models import load


@pytest.fixture
def copied(data, tmp_path):
    """A data set that may be changed."""
    return shutil.copy(data, tmp_path / "images.npz")


def command(model, data, out):
    return ["train", model, "--data", data, "--out", out, *QUICK[model]]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OPTIONS = {
    "ae": [("--lr", "0.01"), ("--batch-size", "8"), ("--seed", "1"), ("--latent-dim", "5"), ("--arch", "conv")],
    "dae": [("--corruption", "masking"), ("--level", "0.1")],
    "vae": [("--beta", "2.0"), ("--likelihood", "gaussian"), ("--warmup-epochs", "1"), ("--free-bits", "0.5")],
}


@pytest.mark.parametrize("model", OPTIONS)
def test_other_options(model, runs, data, tmp_path):
    out = shutil.copytree(runs(model)[0], tmp_path / "run")
    before = files(out)
    for name, value in OPTIONS[model]:
        refused(minivae_command(*command(model, data, out), name, value, "--resume"), f"{name} was", f"not {value}")
    refused(minivae_command(*command(model, data, out), "--epochs", "1", "--resume"), "--epochs was 2, not 1")
    assert files(out) == before


def test_another_command(runs, data, tmp_path):
    out = shutil.copytree(runs("ae")[0], tmp_path / "run")
    refused(minivae_command(*command("dae", data, out), "--resume"), "--model was ae, not dae")


@pytest.mark.parametrize("validation", [[], ["--validation", "0.25"]], ids=["test", "validation"])
@pytest.mark.parametrize("part", ["x_train", "x_test", "y_train", "y_test"])
def test_another_content_of_the_file(part, validation, copied, tmp_path):
    """Labels too: they are in the picture of the codes, and a prior or a probe is trained with them."""
    out = tmp_path / "run"
    succeeded(*command("ae", copied, out), *validation)
    before, arrays = files(out), dict(np.load(copied))
    arrays[part].flat[3] = 1 - arrays[part].flat[3]
    np.savez(copied, **arrays)
    for more in ([], ["--epochs", "3"]):
        refused(minivae_command(*command("ae", copied, out), *validation, *more, "--resume"), f"{part} of 'images.npz'")
        assert files(out) == before


def test_a_run_of_an_older_version_is_gone_on_with(runs, with_prior, data, tmp_path):
    """It did not note its data, a prior not what it is, and no option that came later."""
    later = ("contents", "clip_norm", "validation", "image_shape", "channels", "hidden", "model")
    for run, name, dropped in (
        (runs("ae")[0], "config.json", later[:-1]),
        (with_prior[0], "prior_config.json", ("contents", "clip_norm", "validation", "model")),
    ):
        out = shutil.copytree(run, tmp_path / run.name)
        config = json.loads((out / name).read_text())
        (out / name).write_text(json.dumps({k: v for k, v in config.items() if k not in dropped}))
        first = command("ae", data, out) if name == "config.json" else ["train", "prior", out, *QUICK["prior"]]
        succeeded(*first, "--epochs", "3", "--resume")
        assert json.loads((out / name).read_text()).keys() == config.keys()


def test_other_classes_of_anomaly(data, tmp_path):
    options = ["anomaly", "--data", data, "--out", tmp_path / "run", "--false-alarms", "0.2", *QUICK["ae"]]
    succeeded(*options, "--normal", "0")
    before = files(tmp_path / "run")
    refused(minivae_command(*options, "--normal", "1", "--resume"), "--normal was [0], not [1]")
    assert files(tmp_path / "run") == before


def test_more_epochs_make_it_longer(data, tmp_path):
    """The same from a finished run by the command line and by the library; the run then is one of so many epochs."""
    out = tmp_path / "run"
    succeeded(*command("ae", data, out))
    model, x = load(out / "model.npz"), np.load(data)
    shutil.copy(out / "checkpoint.npz", tmp_path / "checkpoint.npz")
    longer = ["--epochs", "5", "--resume"]
    succeeded(*command("ae", data, out), *longer)
    fit = {"epochs": 5, "batch_size": 16, "lr": 2e-3, "validation": x["x_test"]}
    model.fit(x["x_train"], **fit, checkpoint=tmp_path / "checkpoint.npz", resume=True).save(tmp_path / "model.npz")
    same_models(out / "model.npz", tmp_path / "model.npz")
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4, 5]
    assert json.loads((out / "config.json").read_text())["epochs"] == 5
    assert json.loads((out / "results.json").read_text())["seconds"] == round(sum(r["seconds"] for r in records), 1)
    refused(minivae_command(*command("ae", data, out), "--resume"), "--epochs was 5, not 2")


def test_going_on_with_other_kernels_is_said(runs, data, tmp_path):
    out = shutil.copytree(runs("ae")[0], tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    other = {"native": "reference", "reference": "native"}[config["versions"]["kernels"]]
    (out / "config.json").write_text(json.dumps({**config, "versions": {**config["versions"], "kernels": other}}))
    assert f"begun on the {other} kernels" in succeeded(*command("ae", data, out), "--resume").stdout


class TestPriors:
    def test_a_longer_training_drops_the_prior_of_the_codes_before(self, with_prior, data, tmp_path):
        out = shutil.copytree(with_prior[0], tmp_path / "run")
        succeeded(*command("vqvae", data, out), "--resume")
        assert (out / "prior.npz").exists()  # nothing was trained: its codes are these
        done = succeeded(*command("vqvae", data, out), "--epochs", "3", "--resume")
        assert "removed the prior" in done.stdout
        assert not list(out.glob("prior*"))
        assert not (out / "samples.png").exists()
        refused(minivae_command("sample", out), "no prior")

    def test_the_prior_of_another_codebook_is_not_gone_on_with(self, with_prior, runs, data, tmp_path):
        out = shutil.copytree(with_prior[0], tmp_path / "run")
        succeeded(*command("vqvae", data, tmp_path / "other"), "--seed", "1")
        shutil.copy(tmp_path / "other" / "model.npz", out / "model.npz")
        before = files(out)
        refused(minivae_command("train", "prior", out, *QUICK["prior"], "--resume"), "codebook_digest was")
        assert files(out) == before


def test_force_leaves_no_picture_of_the_old_run(data, tmp_path):
    out = tmp_path / "run"
    succeeded(*command("vae", data, out)[:-1], "2")
    assert (out / "manifold.png").exists()
    (out / "mine.png").touch()
    succeeded(*command("ae", data, out), "--force")
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures == {"latent", "mine", "reconstructions", "training"}


def test_without_resume_it_is_not_offered(data, tmp_path):
    (tmp_path / "file").touch()
    result = minivae_command("compress-curve", "--data", data, "--out", tmp_path)
    refused(result, "--force overwrites it")
    assert "--resume" not in result.stderr
