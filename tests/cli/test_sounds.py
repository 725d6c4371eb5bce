"""`minivae train vqvae1d`, its prior, and the sounds and pictures that they leave."""

import json
import shutil
import wave

import numpy as np
import pytest
from command_line import QUICK, is_picture, minivae_command, refused, succeeded, table

import minivae as mv
from minivae.cli import sounds

T = 512


def write(path, samples, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


def tones(folder, count=12, rate=8000):
    """Recordings of two speakers: tones of two pitches, with some noise."""
    rng = np.random.default_rng(0)
    for i in range(count):
        speaker = i % 2
        tone = 0.4 * np.sin(np.arange(3 * T) * (0.2 + 0.3 * speaker)) + rng.uniform(-0.05, 0.05, 3 * T)
        write(folder / ("anna", "bert")[speaker] / f"{i:02}.wav", tone, rate)
    return folder


def length_of(path):
    with wave.open(str(path)) as file:
        return file.getnframes(), file.getframerate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tones(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("runs") / "vqvae1d"
    shape = ["--image-shape", "1", "1", str(T)]
    trained = succeeded("train", "vqvae1d", "--data", folder, *shape, "--out", out, *QUICK["vqvae1d"])
    return out, trained, succeeded("train", "prior", out, *QUICK["prior"])


def test_training_leaves_a_model_that_is_conditional_on_the_speaker(run):
    out, trained, _ = run
    model = mv.models.load(out / "model.npz")
    assert (model.classes, model.sample_rate, model.image_shape) == (2, 8000, (1, 1, T))
    assert "segments (1, 1, 512)" in trained.stdout
    for name in ("reconstructions", "voices"):
        assert is_picture(out / f"{name}.png")
    gap = round(sounds.GAP * 8000)
    assert length_of(out / "reconstructions.wav") == (2 * 3 * (T + gap), 8000)
    assert length_of(out / "voices.wav") == (3 * (T + gap), 8000)


def test_the_table_has_bits_a_second_beside_mu_law(run):
    _, trained, with_prior = run
    (_, test), both = table(trained.stdout), table(with_prior.stdout)
    bits = 8000 / 32 * np.log2(6)
    assert float(test["bits/s of the codes"].replace(",", "")) == pytest.approx(bits, abs=1)
    assert float(test["bound"]) == pytest.approx(float(test["nll"]) + np.log(6) / 32, abs=2e-4)
    assert [row["prior of the codes"] for row in both] == ["uniform", "uniform", "WaveNet"]
    coding = table(trained.stdout, "test segments by")
    assert coding[0]["times fewer than 8-bit"] == f"{64000 / bits:.1f}"
    assert coding[2]["bits/s"] == "64,000"
    assert float(coding[2]["segmental SNR"]) > float(coding[1]["segmental SNR"])


def test_the_table_says_how_sounds_are_heard(run):
    _, trained, with_prior = run
    rows = {row["sounds"]: row for row in table(with_prior.stdout, "sounds")}
    drawn = ["samples, uniform prior", "samples, temperature 1", "samples, temperature 0.8"]
    assert [*rows] == ["test segments", "their reconstructions", "the same in the next voice", *drawn]
    assert float(rows["test segments"]["heard as their speaker"].rstrip("%")) > 90  # tones of two pitches
    assert all(float(row["distance"]) > 0 for row in rows.values())
    assert [row["sounds"] for row in table(trained.stdout, "sounds")] == [*rows][:4]


def test_the_prior_is_a_wavenet_that_sees_all_codes_of_a_segment(run, tmp_path):
    new = tmp_path / "run"
    shutil.copytree(run[0], new)
    succeeded("train", "prior", new, "--force", "--epochs", "1", "--channels", "4")
    prior = mv.models.load(new / "prior.npz")
    assert isinstance(prior, mv.models.WaveNet)
    assert prior.map_shape == (1, T // 32)
    assert (prior.receptive_field, prior.classes, prior.dilations) == (T // 32, 2, (1, 2, 4, 8))
    refused(minivae_command("train", "prior", new, "--resume", "--epochs", "2", "--channels", "5"), "channels was 4")
    longer = succeeded("train", "prior", new, "--resume", "--epochs", "2", "--channels", "4")
    assert len(table(longer.stdout)) == 3
    assert len((new / "prior_metrics.jsonl").read_text().splitlines()) == 2


def test_sounds_have_no_mirror_images(run):
    refused(minivae_command("train", "prior", run[0], "--force", "--mirrored"), "--mirrored", "sounds")


def test_a_model_in_the_place_of_a_prior(run, tmp_path):
    new = tmp_path / "run"
    shutil.copytree(run[0], new)
    shutil.copy(new / "model.npz", new / "prior.npz")
    refused(minivae_command("sample", new), "holds a VQVAE1d, which is no prior of codes")


def test_mu_law_counts_bits_of_8(folder, tmp_path):
    shape = ["--image-shape", "1", "1", str(T), "--likelihood", "mu-law"]
    done = succeeded("train", "vqvae1d", "--data", folder, *shape, "--out", tmp_path / "run", *QUICK["vqvae1d"])
    _, test = table(done.stdout)
    bits = json.loads((tmp_path / "run" / "results.json").read_text())["test"]["bits_per_dim"]
    assert bits == pytest.approx(float(test["bound"]) / np.log(2), abs=2e-4)
    assert 2 < bits < 8.5
    assert "8-bit mu-law" in done.stdout


def test_vqvae_of_sounds_is_vqvae1d(run, folder, tmp_path):
    """Its defaults and its options, also those that vqvae has not; what only vqvae has is refused."""
    args = ["train", "vqvae", "--data", folder, "--image-shape", 1, 1, T, "--out", tmp_path / "run", *QUICK["vqvae1d"]]
    done = succeeded(*args, "--strides", 4, 8)
    assert done.stdout.startswith(f"{folder} holds sounds, for which vqvae is `minivae train vqvae1d`\n")
    models = [mv.models.load(out / "model.npz") for out in (run[0], tmp_path / "run")]
    expected, found = (model.state_dict() for model in models)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert table(done.stdout) == table(run[1].stdout)
    refused(minivae_command(*args, "--force", "--stages", 2), "'train vqvae1d' has no use for --stages")


def test_a_wavenet_as_the_decoder(folder, tmp_path):
    """Its own defaults, the files and tables of the other decoder, and the same numbers when it is evaluated again."""
    out, shape = tmp_path / "run", ["--image-shape", 1, 1, T]
    quick = ["--epochs", 1, "--codes", 6, "--channels", 4]
    done = succeeded("train", "vqvae1d", "--decoder", "wavenet", "--data", folder, *shape, "--out", out, *quick)
    model = mv.models.load(out / "model.npz")
    assert type(model) is mv.models.WaveNetVQVAE
    assert (model.classes, tuple(model.strides), model.codes) == (2, mv.models.WaveNetVQVAE().strides, 6)
    config = json.loads((out / "config.json").read_text())
    assert (config["batch_size"], config["commitment"]) == (4, 3.0)
    for name in ("reconstructions", "voices"):
        assert is_picture(out / f"{name}.png")
    assert "no SNR" in done.stdout
    succeeded("train", "prior", out, *QUICK["prior"])
    assert table(succeeded("evaluate", out).stdout)[:2] == table(done.stdout)
    assert length_of_samples(out, tmp_path / "a.png") == 2 * (T + round(sounds.GAP * 8000))


def length_of_samples(out, path):
    succeeded("sample", out, "-n", 2, "--out", path)
    return length_of(path.with_suffix(".wav"))[0]


def test_a_wavenet_has_a_gaussian_likelihood(folder, tmp_path):
    args = ["--decoder", "wavenet", "--likelihood", "mu-law", "--data", folder, "--out", tmp_path / "run"]
    refused(minivae_command("train", "vqvae1d", *args), "--decoder wavenet has a gaussian likelihood", "mu-law")


def test_evaluate_prints_the_same_numbers(run, tmp_path):
    out, _, with_prior = run
    again = succeeded("evaluate", out, "--out", tmp_path / "numbers.json")
    assert table(again.stdout) == table(with_prior.stdout)
    assert json.loads((tmp_path / "numbers.json").read_text())["test"]["coding"].keys() == {"snr", "distance"}


def test_samples_and_reconstructions_are_sounds_beside_pictures(run, tmp_path):
    out, _, _ = run
    assert is_picture(out / "samples.png")
    assert (out / "samples.wav").exists()
    gap = round(sounds.GAP * 8000)
    for command, seconds in (("sample", 3), ("reconstruct", 6)):
        picture = tmp_path / f"{command}.png"
        succeeded(command, out, "-n", "3", "--out", picture)
        assert is_picture(picture)
        assert length_of(picture.with_suffix(".wav")) == (seconds * (T + gap), 8000)
    succeeded("sample", out, "-n", "2", "--label", "1", "--out", tmp_path / "b.png")
    a, b = (path.read_bytes() for path in (tmp_path / "sample.wav", tmp_path / "b.wav"))
    assert a[44 : 44 + 2 * T] != b[44 : 44 + 2 * T]  # voice 0 first, then voice 1


def test_an_older_runs_sounds_are_removed(run, tmp_path):
    out, _, _ = run
    new = tmp_path / "run"
    new.mkdir()
    for path in out.iterdir():
        (new / path.name).write_bytes(path.read_bytes())
    succeeded("train", "vqvae", "--data", "shapes", "--force", "--out", new, *QUICK["vqvae"][2:], "--epochs", "1")
    assert not list(new.glob("*.wav"))
    assert not (new / "voices.png").exists()


class TestBadInput:
    """One line before anything is written."""

    def check(self, tmp_path, *args, words):
        refused(minivae_command("train", *args, "--out", tmp_path / "run"), *words)
        assert not (tmp_path / "run" / "config.json").exists()

    @pytest.mark.parametrize("model", ["ae", "dae", "vae", "vqvae2"])
    def test_sounds_for_the_models_of_images(self, model, tmp_path, folder):
        shape = ("--image-shape", 1, 1, T)
        self.check(tmp_path, model, "--data", folder, *shape, words=("sounds", f"train vqvae1d --data {folder}"))

    def test_images_for_the_model_of_sounds(self, tmp_path, data):
        self.check(tmp_path, "vqvae1d", "--data", data, words=("images.npz", "is none"))

    def test_a_segment_that_the_strides_do_not_divide(self, tmp_path, folder):
        args = ("vqvae1d", "--data", folder, "--image-shape", 1, 1, 500)
        self.check(tmp_path, *args, words=("multiple of 32, got 500; nearest: 512",))

    def test_rates_that_differ_silence_and_short_recordings(self, tmp_path):
        for name, samples, rate, word in (
            ("rates", np.full(T, 0.5), 16000, "16000 samples a second"),
            ("silent", np.zeros(T), 8000, "is silent"),
            ("short", np.full(9, 0.5), 8000, "shorter than a segment"),
        ):
            place = tones(tmp_path / name, 4)
            write(place / "anna" / "z.wav", samples, rate)
            self.check(tmp_path, "vqvae1d", "--data", place, "--image-shape", 1, 1, T, words=(word, "z.wav"))

    def test_sounds_of_another_rate_for_a_trained_model(self, run, tmp_path):
        other = tones(tmp_path / "other", 4, rate=16000)
        refused(minivae_command("reconstruct", run[0], "--data", other), "16000 samples a second", "8000")

    def test_segments_of_another_length_are_cut_to_the_models(self, run, tmp_path):
        other = tones(tmp_path / "other", 4)
        succeeded("reconstruct", run[0], "--data", other, "--out", tmp_path / "a.png")

    def test_a_label_that_the_model_does_not_know(self, run):
        refused(minivae_command("sample", run[0], "--label", "7"), "[0, 2)", "7")


class TestSpectrogram:
    def test_a_tone_is_a_line(self):
        shown = sounds.spectrogram(np.sin(2 * np.pi * np.arange(2048) * 32 / 256))
        assert (shown.argmax(axis=0) == 32).all()
        assert shown.shape == (129, (2048 - 256) // 64 + 1)

    def test_a_sound_shorter_than_a_frame_is_padded(self):
        assert sounds.spectrogram(np.ones(16)).shape == (129, 1)


def test_a_wav_is_written_whole_or_not_at_all(tmp_path):
    x = np.linspace(-1, 1, 64)[None]
    sounds.write_wav(tmp_path / "a.wav", x, 8000)
    read, rate = mv.data.sound.read(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(read[:64], x[0], atol=1e-4)
    with pytest.raises(OSError, match="missing"):
        sounds.write_wav(tmp_path / "missing" / "a.wav", x, 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_compress_is_for_images(run, tmp_path):
    refused(minivae_command("compress", run[0], "syllables", tmp_path / "a.mvc"), "VQ-VAE of images", "VQVAE1d")
