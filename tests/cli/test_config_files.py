"""`--config FILE`: options from a TOML file or from the config.json of a run, checked as those of the command line."""

import json
import sys

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, same_models, succeeded

from minivae.models import load

toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


class TestTOML:
    pytestmark = toml

    def test_options_and_the_command_line_above_them(self, data, tmp_path):
        file = written(
            tmp_path / "run.toml",
            f"""
            data = {json.dumps(str(data))}
            out = {json.dumps(str(tmp_path / "run"))}
            epochs = 1
            batch-size = 16  # as on the command line, or with underscores as in config.json
            latent_dim = 3
            lr = 1e-2
            arch = "dense"
            hidden = [7, 5]
            binarize = true
            free-bits = 0.5
            """,
        )
        succeeded("train", "vae", "--config", file, "--latent-dim", "2", "--no-binarize")
        model = load(tmp_path / "run" / "model.npz")
        assert (model.latent_dim, model.hidden, model.binarize, model.free_bits) == (2, (7, 5), None, 0.5)
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        assert (config["epochs"], config["batch_size"], config["lr"]) == (1, 16, 0.01)
        assert "config" not in config

    def test_an_empty_list_is_a_linear_autoencoder(self, data, tmp_path):
        file = written(tmp_path / "linear.toml", "hidden = []")
        options = ["--data", data, "--out", tmp_path / "run", *QUICK["ae"]]
        succeeded("train", "ae", "--config", file, *options)
        assert load(tmp_path / "run" / "model.npz").hidden == ()

    def test_is_the_same_as_the_options(self, data, tmp_path):
        file = written(tmp_path / "a.toml", "epochs = 2\nbatch-size = 16\nlatent-dim = 4\nclip-norm = 3\nseed = 8")
        succeeded("train", "ae", "--data", data, "--out", tmp_path / "a", "--config", file)
        options = [*QUICK["ae"], "--clip-norm", "3", "--seed", "8"]
        succeeded("train", "ae", "--data", data, "--out", tmp_path / "b", *options)
        same_models(tmp_path / "a" / "model.npz", tmp_path / "b" / "model.npz")
        assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()

    def test_of_commands_that_train_nothing(self, runs, tmp_path):
        file = written(tmp_path / "a.toml", "n = 5\nseed = 3")
        for name, options in {"a.png": ["--config", file], "b.png": ["-n", "5", "--seed", "3"]}.items():
            succeeded("sample", runs("vae")[0], "--out", tmp_path / name, *options)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("epoch = 3", ["epoch", "did you mean epochs?"]),
            ("codes = 3", ["codes", "train vae"]),
            ("run = 'a'", ["run"]),
            ("config = 'other.toml'", ["config"]),
            ("epochs = 0", ["epochs", "at least 1"]),
            ("epochs = 3.0", ["epochs", "3.0"]),
            ("epochs = '3'", ["epochs", "'3'"]),
            ("epochs = true", ["epochs", "true"]),
            ("epochs = [3]", ["epochs", "[3]", "one value"]),
            ("epochs = {a = 1}", ["epochs"]),
            ("lr = inf", ["lr", "above 0"]),
            ("lr = 2020-01-01", ["lr", "2020-01-01"]),
            ("arch = 'covn'", ["arch", "did you mean conv?"]),
            ("arch = 3", ["arch", "3"]),
            ("hidden = 400", ["hidden", "[400]"]),
            ("hidden = [4, 0]", ["hidden", "at least 1"]),
            ("hidden = ['4']", ["hidden", "'4'"]),
            ("channels = []", ["channels", "at least one"]),
            ("image_shape = [8, 0, 8]", ["image_shape", "at least 1"]),
            ("binarize = 1", ["binarize", "true or false"]),
            ("binarize = 'yes'", ["binarize", "true or false"]),
            ("out = 7", ["out", "7"]),
            ("data = 7", ["data", "7"]),
            ("seed = 1\nseed = 2", ["TOML"]),
            ("lr = 1\nbatch_size = 4\nbatch-size = 4", ["batch-size", "twice"]),
            ("model = 'ae'", ["model", "train ae", "train vae"]),
            ("[train]\nepochs = 2", ["train"]),
            ("epochs 3", ["TOML"]),
            ("a = " + "[" * 100_000, ["TOML"]),
        ],
    )
    def test_what_it_must_not_hold(self, line, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        written(tmp_path / "bad.toml", line)
        result = minivae_command("train", "vae", "--config", "bad.toml")
        refused(result, "bad.toml", *words)
        assert len(result.stderr.splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]

    def test_a_wrong_value_is_one_even_if_the_command_line_overrides_it(self, data, tmp_path):
        file = written(tmp_path / "a.toml", "epochs = -3")
        refused(minivae_command("train", "ae", "--data", data, "--config", file, *QUICK["ae"]), "epochs", "at least 1")


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"lr": 1, "lr": 2}', ["'lr' twice"]),
            ('{"lr": NaN}', ["lr", "above 0"]),
            ('{"epochs": 1e400}', ["epochs", "a whole number", "Infinity"]),
            ('{"out": "a", "epoch": 3}', ["epoch", "did you mean epochs?"]),
        ],
    )
    def test_with_what_json_must_not_hold(self, text, words, tmp_path):
        refused(minivae_command("train", "ae", "--config", written(tmp_path / "a.json", text)), "a.json", *words)

    def test_that_cannot_be_read(self, tmp_path):
        (tmp_path / "folder.json").mkdir()
        written(tmp_path / "a.json", "[")
        written(tmp_path / "b.json", "[]")
        (tmp_path / "c.json").write_bytes(b"\xff\xfe{}")
        written(tmp_path / "a.yaml", "epochs: 3")
        for name in ("absent.toml", "absent.json", "folder.json", "a.json", "b.json", "c.json", "a.yaml"):
            result = minivae_command("train", "ae", "--config", tmp_path / name)
            refused(result, name)
            assert len(result.stderr.splitlines()) == 1


class TestConfigOfARun:
    @pytest.mark.parametrize("model", ["ae", "dae", "vae", "vqvae"])
    def test_trains_the_same_model_again(self, model, runs, tmp_path):
        run, _ = runs(model)
        succeeded("train", model, "--config", run / "config.json", "--out", tmp_path / "again")
        same_models(run / "model.npz", tmp_path / "again" / "model.npz")
        assert (run / "config.json").read_bytes() == (tmp_path / "again" / "config.json").read_bytes()

    def test_of_a_prior(self, with_prior, runs, tmp_path):
        run = with_prior[0]
        succeeded("train", "vqvae", "--config", run / "config.json", "--out", tmp_path / "again")
        succeeded("train", "prior", tmp_path / "again", "--config", run / "prior_config.json")
        same_models(run / "prior.npz", tmp_path / "again" / "prior.npz")
        refused(minivae_command("train", "vqvae", "--config", run / "prior_config.json"), "prior_config.json", "prior")

    def test_of_anomaly(self, data, tmp_path):
        options = ["--data", data, "--false-alarms", "0.2", "--normal", "0", "2", *QUICK["ae"]]
        succeeded("anomaly", *options, "--out", tmp_path / "a")
        succeeded("anomaly", "--config", tmp_path / "a" / "config.json", "--out", tmp_path / "b")
        same_models(tmp_path / "a" / "model.npz", tmp_path / "b" / "model.npz")

    def test_into_the_same_folder_it_needs_a_word(self, data, tmp_path):
        out = tmp_path / "run"
        succeeded("train", "ae", "--data", data, "--out", out, *QUICK["ae"])
        refused(minivae_command("train", "ae", "--config", out / "config.json", "--out", out), "--force", "--resume")
        longer = ["--out", out, "--epochs", "3", "--resume"]
        assert "epoch 3/3" in succeeded("train", "ae", "--config", out / "config.json", *longer).stderr

    def test_of_another_model(self, runs, tmp_path):
        file = runs("vae")[0] / "config.json"
        refused(minivae_command("train", "ae", "--config", file), "config.json", "train vae", "train ae")
        refused(minivae_command("evaluate", runs("vae")[0], "--config", file), "train vae", "evaluate")

    def test_other_versions_are_said(self, runs, tmp_path):
        config = json.loads((runs("ae")[0] / "config.json").read_text())
        config["versions"]["numpy"] = "1.0"
        file = written(tmp_path / "config.json", json.dumps(config))
        printed = succeeded("train", "ae", "--config", file, "--out", tmp_path / "run").stdout
        assert "numpy 1.0" in printed
        same = succeeded("train", "ae", "--config", runs("ae")[0] / "config.json", "--out", tmp_path / "same").stdout
        assert "numpy" not in same

    @pytest.mark.parametrize("name", ["versions", "contents"])
    @pytest.mark.parametrize("value", ["7", "null", "[]"])
    def test_notes_that_are_none(self, name, value, tmp_path):
        file = written(tmp_path / "config.json", f'{{"{name}": {value}}}')
        refused(minivae_command("train", "ae", "--config", file), "config.json", name, value)

    def test_other_data_are_said(self, data, tmp_path):
        arrays = dict(np.load(data))
        np.savez(tmp_path / "x.npz", **arrays)
        first = ["train", "ae", "--data", tmp_path / "x.npz", *QUICK["ae"], "--out", tmp_path / "first"]
        assert "changed" not in succeeded(*first).stdout
        arrays["y_test"][3] += 1
        np.savez(tmp_path / "x.npz", **arrays)
        again = ["--config", tmp_path / "first" / "config.json", "--out", tmp_path / "again"]
        assert "y_test of 'x.npz' changed" in succeeded("train", "ae", *again).stdout

    def test_null_is_the_default_where_that_is_none(self, data, tmp_path):
        file = written(tmp_path / "a.json", '{"hidden": null, "epochs": 1}')
        succeeded("train", "ae", "--config", file, "--data", data, "--out", tmp_path / "run")
        written(tmp_path / "a.json", '{"epochs": null}')
        refused(minivae_command("train", "ae", "--config", file), "epochs", "null")
