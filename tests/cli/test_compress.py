"""`minivae compress RUN IN OUT` and `minivae decompress RUN IN OUT`."""

import numpy as np
import pytest
from command_line import QUICK, minivae_command, refused, succeeded, table

from minivae.models import load
from minivae.uses import unpack_codes
from minivae.uses.code_files import HEADER


@pytest.fixture(scope="module")
def file(with_prior, data, tmp_path_factory):
    """A compressed file of the 20 test images, and what was printed."""
    out = tmp_path_factory.mktemp("compressed") / "images.mvc"
    return out, succeeded("compress", with_prior[0], data, out).stdout


def images(data, count=20):
    return np.load(data)["x_test"][:count, None]


class TestCompress:
    def test_writes_the_codes_in_the_bytes_that_it_prints(self, file, with_prior, data):
        path, text = file
        rows = table(text, "images as")
        assert [row["images as"] for row in rows] == ["codes, PixelCNN prior", "codes, uniform prior"]
        assert int(rows[0]["bytes"]) == path.stat().st_size
        assert float(rows[0]["bits/pixel"]) == pytest.approx(path.stat().st_size * 8 / (20 * 64), abs=1e-3)
        model, prior = load(with_prior[0] / "model.npz"), load(with_prior[0] / "prior.npz")
        nats = model.code_cost(model.encode(images(data)), prior, np.load(data)["y_test"]).sum() + 20 * np.log(3)
        assert abs(path.stat().st_size - HEADER - nats / (8 * np.log(2))) < 3
        assert f"{nats:,.1f} nats" in text

    def test_is_decompressed_to_the_same_codes_and_reconstructions(self, file, with_prior, data, tmp_path):
        succeeded("decompress", with_prior[0], file[0], tmp_path / "x.npy", "--codes", tmp_path / "k.npy")
        model = load(with_prior[0] / "model.npz")
        np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), model.encode(images(data)))
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), model.reconstruct(images(data)))

    def test_compare_shows_the_other_formats(self, with_prior, data, tmp_path):
        text = succeeded("compress", with_prior[0], data, tmp_path / "c", "--compare").stdout
        names = [row["images as"].split(",")[0].split(" of ")[0] for row in table(text, "images as")]
        assert names == ["codes", "codes", *("PNG", "PNG", "JPEG", "JPEG", "WEBP", "WEBP")]
        assert "times smaller than PNG, one sheet" in text

    def test_without_a_prior_codes_are_uniform(self, runs, data, tmp_path):
        run, _ = runs("vqvae")
        text = succeeded("compress", run, data, tmp_path / "c").stdout
        assert [row["images as"] for row in table(text, "images as")] == ["codes, uniform prior"]
        assert "minivae train prior" in text
        assert int(table(text, "images as")[0]["bytes"]) == (tmp_path / "c").stat().st_size
        succeeded("decompress", run, tmp_path / "c", tmp_path / "x.npy")

    def test_labels_of_a_conditional_prior_travel_in_the_file(self, with_prior, data, tmp_path):
        run = with_prior[0]
        text = succeeded("compress", run, data, tmp_path / "c").stdout
        succeeded("decompress", run, tmp_path / "c", tmp_path / "x.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), load(run / "model.npz").reconstruct(images(data)))
        model, prior, y = load(run / "model.npz"), load(run / "prior.npz"), np.load(data)["y_test"]
        nats = model.code_cost(model.encode(images(data)), prior, y).sum() + 20 * np.log(3)
        assert f"codes and labels; their {nats:,.1f} nats" in text
        assert abs((tmp_path / "c").stat().st_size - HEADER - nats / (8 * np.log(2))) < 3

    def test_images_without_labels_get_those_that_make_their_codes_cheapest(self, with_prior, data, tmp_path):
        run = with_prior[0]
        np.save(tmp_path / "unlabelled.npy", images(data))
        text = succeeded("compress", run, tmp_path / "unlabelled.npy", tmp_path / "c").stdout
        model, prior = load(run / "model.npz"), load(run / "prior.npz")
        codes = model.encode(images(data))
        costs = np.array([model.code_cost(codes, prior, np.full(20, label)) for label in range(3)])
        assert f"{costs.min(axis=0).sum() + 20 * np.log(3):,.1f} nats" in text
        found = unpack_codes(model, (tmp_path / "c").read_bytes(), prior)
        np.testing.assert_array_equal(found.labels, costs.argmin(axis=0))
        np.testing.assert_array_equal(found.codes, codes)

    def test_of_a_prior_without_classes_the_file_holds_no_labels(self, runs, data, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        for name in ("model.npz", "config.json"):
            (run / name).write_bytes((runs("vqvae")[0] / name).read_bytes())
        succeeded("train", "prior", run, *QUICK["prior"], "--no-conditional")
        text = succeeded("compress", run, data, tmp_path / "c").stdout
        model, prior = load(run / "model.npz"), load(run / "prior.npz")
        nats = model.code_cost(model.encode(images(data)), prior).sum()
        assert f"codes; their {nats:,.1f} nats" in text
        assert unpack_codes(model, (tmp_path / "c").read_bytes(), prior).labels is None

    def test_a_single_code_takes_no_bytes(self, data, tmp_path):
        run = tmp_path / "run"
        succeeded("train", "vqvae", "--data", data, "--out", run, *QUICK["vqvae"], "--codes", "1", "--epochs", "1")
        succeeded("compress", run, data, tmp_path / "c")
        assert (tmp_path / "c").stat().st_size == HEADER
        succeeded("decompress", run, tmp_path / "c", tmp_path / "x.npy")

    def test_takes_all_images_of_a_folder_in_order(self, with_prior, data, tmp_path):
        from PIL import Image

        folder = tmp_path / "pngs"
        folder.mkdir()
        pixels = np.rint(images(data, 7)[:, 0] * 255).astype(np.uint8)
        for n, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{n}.png")
        succeeded("compress", with_prior[0], folder, tmp_path / "c")
        succeeded("decompress", with_prior[0], tmp_path / "c", tmp_path / "x.png")
        model = load(with_prior[0] / "model.npz")
        expected = model.reconstruct((pixels / np.float32(255))[:, None])
        sheet = np.asarray(Image.open(tmp_path / "x.png"))
        assert sheet.shape == (24, 24)
        np.testing.assert_array_equal(sheet[8:16, 8:16], np.rint(expected[4, 0] * 255))


class TestRefusals:
    def test_of_what_is_no_file_of_codes(self, with_prior, data, file, tmp_path):
        out = tmp_path / "x.npy"
        refused(minivae_command("decompress", with_prior[0], data, out), "images.npz", "begins with")
        cut = tmp_path / "cut"
        cut.write_bytes(file[0].read_bytes()[:-1])
        refused(minivae_command("decompress", with_prior[0], cut, out), "cut", "bytes behind its header")
        refused(minivae_command("decompress", with_prior[0], tmp_path / "none", out), "none")
        refused(minivae_command("decompress", with_prior[0], tmp_path, out), str(tmp_path))
        assert not out.exists()

    def test_of_other_runs(self, runs, with_prior, data, file, tmp_path):
        out = tmp_path / "x.npy"
        run, _ = runs("vqvae")  # trained as the other one was, and so the same model, without a prior
        refused(minivae_command("decompress", run, file[0], out), "made with a PixelCNN prior")
        refused(minivae_command("compress", runs("vae")[0], data, out), "compress is for a VQ-VAE", "holds VAE")
        refused(minivae_command("decompress", runs("ae")[0], file[0], out), "decompress is for a VQ-VAE")
        assert not out.exists()

    def test_of_outputs_that_would_replace_inputs(self, with_prior, data, file, tmp_path):
        before = data.read_bytes()
        refused(minivae_command("compress", with_prior[0], data, data), "written and read")
        assert data.read_bytes() == before
        copy = tmp_path / "codes.npy"
        copy.write_bytes(file[0].read_bytes())
        refused(minivae_command("decompress", with_prior[0], copy, copy), "written and read")
        refused(minivae_command("decompress", with_prior[0], copy, tmp_path / "x.npy", "--codes", copy), "written")
        assert copy.read_bytes() == file[0].read_bytes()

    @pytest.mark.parametrize("name", ["x.jpg", "x", "x.npz"])
    def test_of_outputs_of_other_kinds(self, with_prior, file, tmp_path, name):
        refused(minivae_command("decompress", with_prior[0], file[0], tmp_path / name), "a .npy or a .png")

    def test_of_images_that_do_not_fit(self, with_prior, tmp_path):
        np.save(tmp_path / "large.npy", np.zeros((4, 9, 9), np.float32))
        np.save(tmp_path / "bright.npy", np.full((4, 8, 8), 1.5, np.float32))
        out = tmp_path / "c"
        refused(minivae_command("compress", with_prior[0], tmp_path / "large.npy", out), "shape")
        refused(minivae_command("compress", with_prior[0], tmp_path / "bright.npy", out), "[0, 1]")
        refused(minivae_command("compress", with_prior[0], "fashion-mini", out), "shape")
        refused(minivae_command("compress", with_prior[0], "nothing", out), "nothing")
        assert not out.exists()
