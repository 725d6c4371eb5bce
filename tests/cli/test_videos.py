"""`minivae train vqvae-video`, its prior, continuations, and the strips and GIFs that they leave."""

import json
import sys

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table
from videos import write_video

import minivae as mv
from minivae.cli import videos
from minivae.data.video import FRAME_RATE

pytest.importorskip("av")
FRAME = "frame 5 of the test clips by"
SHAPE = ("--image-shape", "5", "1", "16", "16")


def frames_of(path):
    from PIL import Image

    with Image.open(path) as gif:
        gif.seek(0)
        return gif.n_frames, gif.info["duration"]


def seconds_of(path):
    """How long a GIF is. (Frames that are equal to the one before are stored as one that is shown for longer.)"""
    from PIL import Image, ImageSequence

    with Image.open(path) as gif:
        return sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif)) / 1000


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("film") / "film.mkv", np.arange(60) * 4, rate=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory, film):
    out = tmp_path_factory.mktemp("runs") / "video"
    trained = succeeded("train", "vqvae-video", "--data", film, *SHAPE, "--out", out, *QUICK["vqvae-video"])
    return out, trained, succeeded("train", "prior", out, *QUICK["prior"])


def test_training_leaves_a_model_strips_and_gifs(run):
    out, trained, with_prior = run
    assert mv.models.load(out / "model.npz").image_shape == (5, 1, 16, 16)
    assert "10 training and 2 test clips (5, 1, 16, 16)" in trained.stdout
    assert "70 training and 10 test maps" in with_prior.stdout
    for name in ("reconstructions", "samples", "codes", "training"):
        assert is_picture(out / f"{name}.png")
    assert frames_of(out / "reconstructions.gif") == (5, 50)
    assert seconds_of(out / "samples.gif") == pytest.approx(5 / FRAME_RATE)


def test_the_table_has_the_bound_and_psnr_beside_repeating_the_last_frame(run, film):
    out, trained, with_prior = run
    both = table(with_prior.stdout)
    assert [row["prior of the codes"] for row in both] == ["uniform", "uniform", "PixelCNN"]
    for row in both:
        assert float(row["bound"]) == pytest.approx(float(row["nll"]) + float(row["codes"]), abs=0.02)
    assert float(both[1]["codes"]) == pytest.approx(5 * 4 * 4 * np.log(6), abs=0.01)
    assert "in nats per clip" in with_prior.stdout
    rows = {
        row["frame 5 of the test clips by"]: row["PSNR"]
        for row in table(with_prior.stdout, "frame 5 of the test clips by")
    }
    assert list(rows) == [
        "its reconstruction",
        "the continuation at temperature 0.85",
        "the continuation at temperature 0",
        "the frame before it",
        "the frame before it, reconstructed",
    ]
    assert len(table(trained.stdout, FRAME)) == 3  # without a prior nothing is continued
    x = mv.datasets.load(film, image_shape=(5, 1, 16, 16)).x_test
    assert float(rows["the frame before it"]) == pytest.approx(mv.uses.psnr(x[:, 4], x[:, 3]), abs=0.01)
    model = mv.models.load(out / "model.npz")
    psnr = mv.uses.psnr(x[:, 4], model.reconstruct(x)[:, 4])
    assert float(rows["its reconstruction"]) == pytest.approx(psnr, abs=0.01)


def test_evaluate_prints_the_same_numbers(run, tmp_path):
    out, _, with_prior = run
    again = succeeded("evaluate", out, "--out", tmp_path / "numbers.json")
    assert again.stdout.strip() in with_prior.stdout
    assert len(json.loads((tmp_path / "numbers.json").read_text())["psnr_of"]) == 6


def test_sample_reconstruct_and_continue(run, tmp_path):
    out = run[0]
    for command, options, seconds in (
        ("sample", ["-n", "3"], 5 / FRAME_RATE),
        ("reconstruct", ["-n", "1"], 5 / 20),
        ("continue", [], 5 / 20),
        ("continue", ["--given", "2", "--frames", "7", "-n", "1"], 9 / 20),
        ("continue", ["--given", "5", "--temperature", "0"], 6 / 20),
    ):
        picture = tmp_path / f"{command}.png"
        succeeded(command, out, *options, "--out", picture)
        assert is_picture(picture)
        assert seconds_of(picture.with_suffix(".gif")) == pytest.approx(seconds)


def test_the_first_frames_of_a_continuation_are_those_of_the_clip(run, tmp_path):
    from PIL import Image

    out = run[0]
    succeeded("continue", out, "--given", "3", "-n", "1", "--out", tmp_path / "a.png")
    with Image.open(tmp_path / "a.gif") as gif:
        for t in range(5):
            gif.seek(t)
            pixels = np.asarray(gif.convert("L"))
            above, below = np.split(pixels, 2)
            assert (t < 3) == (above == below).all()


def test_an_older_runs_gifs_are_removed(run, tmp_path):
    new = tmp_path / "run"
    new.mkdir()
    for path in run[0].iterdir():
        (new / path.name).write_bytes(path.read_bytes())
    succeeded("train", "vqvae", "--data", "shapes", "--force", "--out", new, *QUICK["vqvae"][2:], "--epochs", "1")
    assert not list(new.glob("*.gif"))
    assert not (new / "continuation.png").exists()


def test_a_resumed_training_is_the_same(film, tmp_path):
    args = ("train", "vqvae-video", "--data", film, *SHAPE, *QUICK["vqvae-video"][2:])
    succeeded(*args, "--epochs", 1, "--out", tmp_path / "a")
    succeeded(*args, "--epochs", 2, "--out", tmp_path / "a", "--resume")
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 2


def test_colours(tmp_path, film):
    shape = ("--image-shape", "5", "3", "8", "8")
    succeeded("train", "vqvae-video", "--data", film, *shape, "--out", tmp_path / "rgb", *QUICK["vqvae-video"])
    assert is_picture(tmp_path / "rgb" / "reconstructions.png")


class TestBadInput:
    """One line before anything is written."""

    def check(self, tmp_path, *args, words):
        refused(minivae_command("train", *args, "--out", tmp_path / "run"), *words)
        assert not (tmp_path / "run" / "config.json").exists()

    @pytest.mark.parametrize("model", ["ae", "dae", "vae", "vqvae", "vqvae2", "vqvae1d"])
    def test_videos_for_other_models(self, model, tmp_path, film):
        self.check(tmp_path, model, "--data", film, words=("holds videos", f"train vqvae-video --data {film}"))

    def test_sounds_and_images_for_the_model_of_videos(self, tmp_path, data):
        self.check(tmp_path, "vqvae-video", "--data", "syllables", words=("holds sounds", "train vqvae1d"))
        for name in (data, "fashion-mini"):
            self.check(tmp_path, "vqvae-video", "--data", name, words=("is for videos", "is none"))

    @pytest.mark.parametrize(
        ("shape", "word"),
        [
            ((1, 1, 16, 16), "at least 2 frames"),
            ((5, 1, 18, 16), "height must be a multiple of 4, got 18; nearest: 16 and 20"),
            ((5, 1, 16, 17), "width must be a multiple of 4, got 17"),
            ((5, 2, 16, 16), "grey or RGB"),
            ((1, 16, 16), "4 ints (T, C, H, W)"),
            ((100, 1, 16, 16), "60 frame(s), a clip has 100"),
            ((40, 1, 16, 16), "no video of two clips"),
        ],
    )
    def test_shapes_that_do_not_fit(self, shape, word, tmp_path, film):
        self.check(tmp_path, "vqvae-video", "--data", film, "--image-shape", *shape, words=(word,))

    def test_a_file_that_is_no_video(self, tmp_path):
        (tmp_path / "a.mp4").write_text("nothing")
        self.check(tmp_path, "vqvae-video", "--data", tmp_path / "a.mp4", words=("a.mp4", "no readable video"))

    def test_no_pyav(self, tmp_path, film, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        self.check(tmp_path, "vqvae-video", "--data", film, words=("minivae[video]",))

    def test_a_prior_with_classes_and_other_commands(self, run, runs, tmp_path):
        out = run[0]
        refused(minivae_command("train", "prior", out, "--conditional", "--force"), "not for the prior of a video")
        refused(minivae_command("sample", out, "--label", "1"), "no use for --label")
        refused(minivae_command("continue", out, "--given", "6"), "at most the 5 frames", "got 6")
        refused(minivae_command("continue", runs("vqvae")[0]), "a VQ-VAE of video", "VQVAE")
        refused(minivae_command("compress", out, "moving-clothes", tmp_path / "a.mvc"), "VQ-VAE of images")

    def test_a_continuation_without_a_prior(self, run, tmp_path):
        for name in ("model.npz", "config.json"):
            (tmp_path / name).write_bytes((run[0] / name).read_bytes())
        refused(minivae_command("continue", tmp_path), "has no prior", f"train prior {tmp_path}")


class TestGifs:
    def test_clips_lie_beside_each_other_and_groups_below(self):
        x = np.arange(3)[:, None, None, None] / 4 * np.ones((3, 1, 2, 2))
        sheet = videos._mosaic(x, 2)
        assert sheet.shape == (2 * 4 - 2, 2 * 4 - 2)
        assert (sheet[:2, :2] == 0).all()
        assert (sheet[:2, 4:] == 64).all()
        assert (sheet[4:, :2] == 128).all()
        assert videos._mosaic(np.zeros((4, 3, 2, 2)), 2).shape == (6, 6, 3)

    def test_a_gif_is_written_whole_or_not_at_all(self, tmp_path):
        x = np.zeros((2, 3, 1, 4, 4)) + np.arange(3).reshape(3, 1, 1, 1) / 4
        videos._save_gif(tmp_path / "a.gif", [x, 1 - x], 10)
        assert frames_of(tmp_path / "a.gif")[1] == 100
        with pytest.raises(OSError, match="missing"):
            videos._save_gif(tmp_path / "missing" / "a.gif", [x], 10)
        assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
