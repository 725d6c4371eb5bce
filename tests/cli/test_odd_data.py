"""Every command on data that is small or odd: it works, or it says in one line what does not fit and leaves nothing."""

import json

import numpy as np
import pytest
from command_line import minivae_command, refused, succeeded
from strategies import numbers

TINY = {
    "ae": ["--latent-dim", "4"],
    "dae": ["--latent-dim", "4"],
    "vae": ["--arch", "dense", "--latent-dim", "2"],
    "vqvae": ["--codes", "3", "--code-dim", "2", "--channels", "2"],
    "anomaly": ["--latent-dim", "4", "--false-alarms", "0.3"],
    "compress-curve": ["--dims", "1", "2"],
}


def images(n, C=1, low=0.0, high=1.0):
    return numbers(n, C, 4, 4, low=low, high=high, dtype=np.float32)


DATA = {
    "one": {"x": images(1)},
    "two": {"x": images(2), "y": np.arange(2)},
    "one of each": {"x_train": images(1), "x_test": images(1)},
    "twenty": {"x": images(20), "y": np.arange(20) % 2},
    "2 channels": {"x": images(60, 2), "y": np.arange(60) % 3},
    "5 channels": {"x": images(60, 5), "y": np.arange(60) % 3},
    "0 to 255": {"x": images(60, high=255), "y": np.arange(60) % 3},
    "-1 to 1": {"x": images(60, low=-1), "y": np.arange(60) % 3},
    "13 classes": {"x": images(130), "y": np.arange(130) % 13},
    "far classes": {"x": images(60), "y": np.arange(60) % 3 * 100},
    "one class": {"x": images(60), "y": np.zeros(60, int)},
    "no labels": {"x": images(60)},
    "black": {"x": np.zeros((60, 1, 4, 4), np.float32), "y": np.arange(60) % 3},
}
OUTSIDE = "pixels must lie in [0, 1]"
NONE = "has none"
REFUSED = {  # with these words; all else works
    **{("one", name): "at least 2" for name in TINY},
    ("two", "vae interpolate"): "there is 1",
    ("two", "vae probe"): "at least 2 labels a class",
    ("two", "vqvae"): "as many vectors as codes",
    ("two", "anomaly"): "some classes must be normal",
    ("two", "compress-curve"): "at most 1 components",
    ("one of each", "vae interpolate"): "there is 1",
    ("one of each", "vae probe"): NONE,
    ("one of each", "vqvae"): "as many vectors as codes",
    ("one of each", "anomaly"): NONE,
    ("one of each", "compress-curve"): "at most 1 components",
    ("twenty", "anomaly"): "all anomalous",  # every tenth image is held out, and has label 1
    ("0 to 255", "vae bernoulli"): "divide by 255",
    ("0 to 255", "vqvae bernoulli"): "--likelihood gaussian",
    **{("0 to 255", name): OUTSIDE for name in ("vae denoise", "vqvae denoise", "compress-curve")},
    ("-1 to 1", "vae bernoulli"): OUTSIDE,
    ("-1 to 1", "vqvae bernoulli"): "--likelihood gaussian",
    **{("-1 to 1", name): OUTSIDE for name in ("vae denoise", "vqvae denoise", "compress-curve")},
    ("far classes", "prior"): "0, 100, 200",
    ("one class", "anomaly"): "some classes must be normal",
    **{("no labels", name): NONE for name in ("vae probe", "prior", "anomaly")},
}


@pytest.fixture(autouse=True)
def without_rendering(monkeypatch):
    """Pictures are drawn, but not written: rendering is what takes time, and tests/figures looks at it."""
    figure = pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(figure.Figure, "savefig", lambda *_, **__: None)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", DATA)
def test_every_command_works_or_says_what_does_not_fit(name, tmp_path):
    path = tmp_path / f"{name}.npz"
    np.savez(path, **DATA[name])

    def run(what, *command):
        """Whether it worked, as it must unless REFUSED says that it must not."""
        result = minivae_command(*command)
        if (name, what) in REFUSED:
            refused(result, REFUSED[name, what])
            assert len(result.stderr.splitlines()) == 1
            return False
        assert result.returncode == 0, (name, what, result.stderr)
        assert "nan" not in result.stdout
        return True

    def train(what, command, *options):
        out = tmp_path / what
        worked = run(what, *command, "--data", path, "--out", out, "--epochs", "1", *options)
        assert worked == out.exists(), "nothing is written, or a run"
        return out if worked else None

    def use(what, out, *options):
        before = sorted(out.iterdir())
        if not run(what, *what.split()[1:], out, *options):
            assert sorted(out.iterdir()) == before

    train("ae", ["train", "ae"], *TINY["ae"])
    train("dae", ["train", "dae"], *TINY["dae"])
    outside = name in ("0 to 255", "-1 to 1")
    likelihood = ["--likelihood", "gaussian"] if outside else []
    for model in ("vae", "vqvae"):
        if outside:
            train(f"{model} bernoulli", ["train", model], *TINY[model])
        if out := train(model, ["train", model], *TINY[model], *likelihood):
            use(f"{model} denoise", out)
            if model == "vae":
                use("vae interpolate", out)
                use("vae traverse", out, "--image", "0")
                use("vae probe", out)
            else:
                prior = ["--epochs", "1", "--channels", "2", "--layers", "1", "--conditional"]
                run("prior", "train", "prior", out, *prior)
    train("anomaly", ["anomaly"], *TINY["anomaly"])
    train("compress-curve", ["compress-curve"], *TINY["compress-curve"])


def test_the_noise_that_a_bernoulli_model_sees_is_clipped(runs, tmp_path):
    result = succeeded("denoise", runs("vae")[0], "--level", "0.5", "--out", tmp_path / "a.png")
    assert "gaussian noise of level 0.5, clipped to [0, 1]" in result.stdout


def test_files_hold_no_infinity(tmp_path):
    """All images are equal: PCA reconstructs them without an error."""
    np.save(tmp_path / "x.npy", np.zeros((20, 1, 8, 8), np.float32))
    options = ["--data", tmp_path / "x.npy", "--out", tmp_path / "run", "--epochs", "1", "--dims", "1"]
    result = succeeded("compress-curve", *options)
    assert "inf" in result.stdout

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    text = (tmp_path / "run" / "results.json").read_text()
    (row,) = json.loads(text, parse_constant=refuse)["ae"]
    assert row["pca_psnr"] is None
    assert row["psnr"] > 0
