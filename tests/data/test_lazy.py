"""Examples that stay in files are those of the array in memory, and what is wrong with a file is named."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

import minivae as mv
from minivae.data import Batches, lazy, shards
from minivae.data.batches import digest
from minivae.data.lazy import LazyArray
from minivae.data.shards import Shards
from minivae.models.squared_error import SquaredErrorCodec


def mapped(path, x):
    """Write x to a file and map it."""
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def pixels(n, seed=0):
    """Draw n images (n, 1, 4, 4) of bytes."""
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)


def write_shards(folder, x, cuts, name="part"):
    """Write x as shards cut before these rows, and return their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}-{i:03d}.npy" for i in range(len(cuts) + 1)]
    for path, part in zip(paths, np.split(x, cuts), strict=True):
        np.save(path, part)
    return paths


def same(found, expected):
    """Check that two arrays in memory are equal bit by bit."""
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def autoencoder(**settings):
    return mv.models.Autoencoder((1, 4, 4), 3, hidden=(8,), batch_size=8, epochs=2, random_state=0, **settings)


class TestReading:
    @given(data=st.data(), n=st.integers(1, 20))
    @examples
    def test_rows_are_those_of_the_array(self, tmp_path_factory, data, n):
        x, folder = np.arange(n * 6, dtype=np.int32).reshape(n, 2, 3), tmp_path_factory.mktemp("rows")
        cuts = sorted(data.draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
        found = LazyArray(Shards(write_shards(folder, x, cuts)))
        for source in (found, LazyArray(mapped(folder / "x.npy", x)), LazyArray(found)):
            assert (source.shape, source.dtype, source.ndim, source.size, len(source)) == (
                x.shape,
                x.dtype,
                3,
                x.size,
                n,
            )
            rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=30)), np.int64)
            same(source[rows], x[rows])
            part = data.draw(st.slices(n))
            same(source[part], np.ascontiguousarray(x[part]))
            same(source[-1], x[-1])
            chosen = source.select(rows)
            assert len(chosen) == len(rows)
            same(chosen[:], x[rows])
            same(chosen[::-2], np.ascontiguousarray(x[rows][::-2]))

    def test_rows_are_read_in_the_order_of_the_file(self):
        asked = []

        class Source:
            shape, dtype = (10, 2), np.dtype(np.float32)

            def __getitem__(self, rows):
                asked.append(rows.tolist())
                return np.repeat(rows[:, None], 2, axis=1).astype(np.float32)

        found = LazyArray(Source())[[7, 2, 9, 2]]
        assert asked == [[2, 2, 7, 9]]
        np.testing.assert_array_equal(found[:, 0], [7, 2, 9, 2])

    @pytest.mark.parametrize("index", [10, -11, [0, 10]])
    def test_no_such_row(self, tmp_path, index):
        x = LazyArray(mapped(tmp_path / "x.npy", pixels(10)))
        for take in (x.__getitem__, x.select):
            with pytest.raises(IndexError, match="there are 10 examples"):
                take(index)

    @pytest.mark.parametrize("index", [[0.5], np.ones(10, bool), (0, 1, 2, 3, slice(3)), [[0], [1]], None])
    def test_what_is_no_index_of_rows(self, tmp_path, index):
        with pytest.raises((TypeError, ValueError)):
            LazyArray(mapped(tmp_path / "x.npy", pixels(10)))[index]

    def test_it_never_becomes_an_array_by_accident(self, tmp_path):
        x = LazyArray(mapped(tmp_path / "x.npy", pixels(10)))
        for whole in (np.asarray, np.mean, lambda x: np.concatenate([x, x]), lambda x: mv.uses.PCA(x, 2)):
            with pytest.raises(TypeError, match="10 examples in files are not read into memory at once"):
                whole(x)

    def test_the_sample_is_at_even_distances(self, tmp_path, monkeypatch):
        x = np.arange(1000, dtype=np.float32)[:, None]
        lazily = LazyArray(mapped(tmp_path / "x.npy", x))
        same(lazily.sample(), x)
        monkeypatch.setattr(lazy, "SAMPLE", 250)
        same(lazily.sample(), np.ascontiguousarray(x[::4]))
        monkeypatch.setattr(lazy, "SAMPLE_BYTES", 4 * 125)
        same(lazily.sample(), np.ascontiguousarray(x[::8]))
        monkeypatch.setattr(lazy, "SAMPLE_BYTES", 0)
        assert len(lazily.sample()) == lazy.SAMPLE_LEAST


class TestImages:
    @pytest.mark.parametrize("dtype", [np.uint8, bool, np.float16, ">f4", np.float32, np.float64])
    def test_a_model_sees_the_same_numbers(self, tmp_path, dtype):
        x = (
            (pixels(30) > 99)
            if dtype is bool
            else pixels(30)
            if dtype is np.uint8
            else (pixels(30) / 255).astype(dtype)
        )
        in_memory = x / np.float32(255) if dtype is np.uint8 else x.astype(np.float32)
        model = autoencoder()
        found = model.check_images(mapped(tmp_path / "x.npy", x))
        assert (found.shape, found.dtype) == ((30, 1, 4, 4), np.float32)
        same(found[[5, 3, 29]], in_memory[[5, 3, 29]])
        assert model.check_images(found) is found  # nothing is checked twice
        flat = model.check_images(mapped(tmp_path / "flat.npy", x.reshape(30, 16)))
        same(flat[2:9], in_memory[2:9])

    def test_what_is_computed_from_a_mapped_file_is_in_memory(self, tmp_path):
        x = mapped(tmp_path / "x.npy", pixels(30)).astype(np.float32)
        assert isinstance(x, np.memmap)
        with pytest.raises(ValueError, match="pixels must lie in"):
            mv.models.VAE((1, 4, 4), 2, "dense", hidden=(8,)).check_images(x)
        same(autoencoder().check_images(x), np.asarray(x))

    def test_shape_and_dtype_are_checked_at_once(self, tmp_path):
        with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 4, 4\) or .*, got \(10, 1, 4, 3\)"):
            autoencoder().fit(mapped(tmp_path / "x.npy", pixels(10)[..., :3]))
        with pytest.raises(TypeError, match="images must be bytes .* got int64"):
            autoencoder().fit(mapped(tmp_path / "x.npy", pixels(10).astype(np.int64)))

    @pytest.mark.parametrize("bad", [np.nan, -np.inf])
    def test_training_names_the_first_number_that_is_not_finite(self, tmp_path, bad):
        x = (pixels(100) / 255).astype(np.float32)
        x[57, 0, 2, 1] = bad
        with pytest.raises(ValueError, match=rf"images must be finite: there is {bad} at index \(57, 0, 2, 1\)"):
            autoencoder().fit(mapped(tmp_path / "x.npy", x))
        with pytest.raises(ValueError, match=r"\(57, 0, 2, 1\)"):
            autoencoder().fit(x[:50], validation=mapped(tmp_path / "x.npy", x))

    @pytest.mark.parametrize(
        ("model", "value", "message"),
        [
            (
                lambda: mv.models.VAE((1, 4, 4), 2, "dense", hidden=(8,)),
                1.5,
                "example 57 of images: pixels must lie in",
            ),
            (autoencoder, 1e300, "example 57 of images: images must be finite: there is inf"),
        ],
    )
    def test_training_names_the_example_with_other_bad_values(self, tmp_path, model, value, message):
        x = pixels(100) / 255
        x[57, 0, 2, 1] = value
        with pytest.raises(ValueError, match=message):
            model().fit(mapped(tmp_path / "x.npy", x), epochs=1)

    def test_levels(self, tmp_path):
        x = pixels(100) / 255
        x[57, 0, 2, 1] = 0.335
        model = mv.models.VAE((1, 4, 4), 2, "dense", "logistic", hidden=(8,))
        with pytest.raises(ValueError, match=r"example 57 of images: pixels must be those of 8-bit images"):
            model.fit(mapped(tmp_path / "x.npy", x), epochs=1)

    def test_a_check_of_ones_own_sees_batches(self, tmp_path):
        class Dark(SquaredErrorCodec):
            def __init__(self):
                self.image_shape, self.latent_dim = (1, 4, 4), 2
                super().__init__()

            def build(self):
                self.encoder = mv.nn.Sequential(mv.nn.Flatten(), mv.nn.Linear(16, 2))
                self.decoder = mv.nn.Sequential(mv.nn.Linear(2, 16), mv.nn.Unflatten((1, 4, 4)))

            def check_images(self, x):
                x = super().check_images(x)
                if isinstance(x, np.ndarray) and x.size and x.max() > 0.5:
                    raise ValueError("too bright")
                return x

        x = pixels(20) // 4
        x[13] = 200
        model = Dark()
        assert model.encode(mapped(tmp_path / "x.npy", x)[:13]).shape == (13, 2)
        with pytest.raises(ValueError, match="example 13 of images: too bright"):
            model.encode(mapped(tmp_path / "x.npy", x))


MODELS = {
    "autoencoder": autoencoder,
    "sparse": lambda: mv.models.SparseAutoencoder((1, 4, 4), 8, batch_size=8, epochs=2, random_state=0),
    "vae": lambda: mv.models.VAE(
        (1, 4, 4), 2, "dense", hidden=(8,), binarize="dynamic", batch_size=8, epochs=2, random_state=0
    ),
    "vqvae": lambda: mv.models.VQVAE(
        (1, 4, 4), 4, 3, channels=4, residual_channels=4, batch_size=8, epochs=2, random_state=0
    ),
}


class TestTraining:
    @pytest.mark.parametrize("name", MODELS)
    def test_it_ends_in_the_model_of_the_array_in_memory(self, tmp_path, name):
        x, path = pixels(60), tmp_path / "checkpoint.npz"
        states, scores, losses, digests = [], [], [], []
        for images in (x / np.float32(255), mapped(tmp_path / "x.npy", x)):
            model = MODELS[name]()
            model.fit(images, validation=images[:20], checkpoint=path)
            states.append(model.state_dict())
            scores.append(model.score_samples(images))
            losses.append(mv.training.evaluate(model, images))
            meta = mv.training.load_checkpoint(path)[1]
            digests.append((meta["batches"]["digest"], meta["fit"]["validation"]))
            codes = model.encode(images)
            assert codes.shape[:1] == (60,)
            states[-1]["codes"] = codes
        first, second = states
        for key in first:
            same(np.asarray(second[key]), np.asarray(first[key]))
        same(*scores[::-1])
        assert losses[0] == losses[1]
        assert digests[0] == digests[1]

    def test_binarized_images_of_several_blocks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("minivae.models.vae.BINARY_BLOCK", 16)
        x, model = pixels(60), MODELS["vae"]()
        whole, lazily = model.binarized(x / np.float32(255)), model.binarized(mapped(tmp_path / "x.npy", x))
        same(lazily[:], whole)
        same(lazily[[40, 3, 17]], whole[[40, 3, 17]])

    def test_labels(self, tmp_path):
        x, y = pixels(60), np.arange(60) % 3
        models = [
            mv.models.ConditionalVAE((1, 4, 4), 3, latent_dim=2, arch="dense", hidden=(8,), random_state=0).fit(
                images, y, epochs=1, batch_size=8, validation=(images, y)
            )
            for images in (x / np.float32(255), mapped(tmp_path / "x.npy", x))
        ]
        for a, b in zip(*(model.state_dict().values() for model in models), strict=True):
            same(a, b)

    def test_maps_of_codes(self, tmp_path):
        codes = (pixels(40)[:, 0] // 64).astype(np.uint8)
        models = [
            mv.models.PixelCNN((4, 4), 4, 4, 2, random_state=0).fit(maps, epochs=1, batch_size=8, validation=maps)
            for maps in (codes, mapped(tmp_path / "codes.npy", codes))
        ]
        for a, b in zip(*(model.state_dict().values() for model in models), strict=True):
            same(a, b)
        with pytest.raises(ValueError, match=r"example 0 of images: the values of maps must be in \[0, 4\)"):
            models[0].score_samples(mapped(tmp_path / "codes.npy", codes + np.uint8(4)))

    def test_a_resume_goes_on_bit_by_bit(self, tmp_path):
        x = mapped(tmp_path / "x.npy", pixels(60))
        whole = autoencoder().fit(x)
        path = tmp_path / "checkpoint.npz"
        autoencoder().fit(x, checkpoint=path, on_epoch=lambda record: True)
        resumed = autoencoder().fit(x, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            same(resumed.state_dict()[name], array)
        other = mapped(tmp_path / "y.npy", pixels(60, seed=1))
        with pytest.raises(ValueError, match="data of another content"):
            autoencoder().fit(other, checkpoint=path, resume=True)


class TestBatches:
    def test_indices_and_examples_apart_are_the_batches(self, tmp_path):
        x, y = pixels(23), np.arange(23)
        images = LazyArray(mapped(tmp_path / "x.npy", x))
        apart, whole = (Batches(images, 5, seed=3, y=y) for _ in range(2))
        for epoch in range(2):
            for batch in whole:
                indices = apart.chosen()
                assert indices.dtype == np.int64
                same(np.concatenate([apart.take(indices[:2])[0], apart.take(indices[2:])[0]]), batch[0])
                same(apart.take(indices)[1], batch[1])
                assert apart.state_dict() == whole.state_dict()
            assert apart.epoch == epoch + 1

    def test_a_digest_reads_the_sample_alone(self, tmp_path, monkeypatch):
        x = np.arange(1000, dtype=np.float32)[:, None]
        assert digest(LazyArray(mapped(tmp_path / "x.npy", x))) == digest(x)
        monkeypatch.setattr(lazy, "SAMPLE", 250)
        assert digest(x) == digest(x.copy())
        found = digest(LazyArray(mapped(tmp_path / "x.npy", x)))
        for row, seen in ((4, True), (5, False)):
            changed = x.copy()
            changed[row] += 1
            assert (digest(LazyArray(mapped(tmp_path / "y.npy", changed))) != found) is seen
        assert digest(LazyArray(mapped(tmp_path / "z.npy", x[:-1]))) != found


class TestFiles:
    @pytest.fixture(params=["in memory", "in files"])
    def place(self, request, monkeypatch):
        """Load data sets as if they were small, or as if they were large."""
        monkeypatch.setattr(shards, "IN_MEMORY", 1 << 28 if request.param == "in memory" else 0)
        return LazyArray if request.param == "in files" else np.ndarray

    def check(self, place, path, x, y=None, x_test=None, y_test=None, **options):
        """Check that the data set at a path has these images; without test images every tenth of x is one."""
        data = mv.datasets.load(path, **options)
        held = np.arange(len(x)) % 10 == 9
        expected = (x, y, x_test, y_test)
        if x_test is None:
            expected = x[~held], None if y is None else y[~held], x[held], None if y is None else y[held]
        for name, array in zip(("x_train", "y_train", "x_test", "y_test"), expected, strict=True):
            found = getattr(data, name)
            if array is None or name.startswith("y"):
                np.testing.assert_array_equal(found, array)
            else:
                assert type(found) is place
                same(found[:], array / np.float32(255))
        return data

    def test_a_file(self, tmp_path, place):
        np.save(tmp_path / "x.npy", pixels(40))
        data = self.check(place, tmp_path / "x.npy", pixels(40))
        assert data.value_range == (data.x_train[:].min(), 1)
        np.save(tmp_path / "rows.npy", pixels(40).reshape(40, 16))
        self.check(place, tmp_path / "rows.npy", pixels(40), image_shape=(1, 4, 4))
        np.save(tmp_path / "grey.npy", pixels(40)[:, 0])
        self.check(place, tmp_path / "grey.npy", pixels(40))

    def test_a_folder_of_shards(self, tmp_path, place):
        write_shards(tmp_path / "parts", pixels(40), [13, 14, 30])
        self.check(place, tmp_path / "parts", pixels(40))
        write_shards(tmp_path / "rows", pixels(40).reshape(40, 16), [13], name="000")
        self.check(place, tmp_path / "rows", pixels(40), image_shape=(1, 4, 4))

    def test_shards_with_labels(self, tmp_path, place):
        y = np.arange(40) % 3
        write_shards(tmp_path / "own", pixels(40), [13, 14], "x")
        write_shards(tmp_path / "own", y, [20], "y")
        self.check(place, tmp_path / "own", pixels(40), y)
        for part, n in (("train", 30), ("test", 10)):
            write_shards(tmp_path / "both", pixels(n, seed=n), [4], f"x_{part}")
            write_shards(tmp_path / "both", y[:n], [], f"y_{part}")
        self.check(place, tmp_path / "both", pixels(30, seed=30), y[:30], pixels(10, seed=10), y[:10])

    def test_in_memory_is_a_sample_with_its_labels(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shards, "IN_MEMORY", 0)
        monkeypatch.setattr(lazy, "SAMPLE", 9)
        write_shards(tmp_path / "own", pixels(40), [13, 14], "x")
        write_shards(tmp_path / "own", np.arange(40), [20], "y")
        data = mv.datasets.load(tmp_path / "own")
        part = data.in_memory()
        same(part.x_train, data.x_train[::4])
        np.testing.assert_array_equal(part.y_train, data.y_train[::4])
        same(part.x_test, data.x_test[:])
        assert part.in_memory() is part

    def test_a_data_set_can_be_given_to_another_process(self, tmp_path, place):
        write_shards(tmp_path / "parts", pixels(40), [13])
        data = mv.datasets.load(tmp_path / "parts")
        same(pickle.loads(pickle.dumps(data)).x_train[:], data.x_train[:])

    def test_pictures_come_before_arrays(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        for i in range(3):
            image.fromarray(pixels(3)[i, 0]).save(tmp_path / f"{i}.png")
        np.save(tmp_path / "labels.npy", np.arange(3))
        assert mv.datasets.load(tmp_path).x_train.shape == (2, 1, 4, 4)

    def test_a_small_file_in_fortran_order_is_read_and_shards_are_refused(self, tmp_path, place):
        np.save(tmp_path / "x.npy", np.asfortranarray(pixels(40)))
        self.check(np.ndarray, tmp_path / "x.npy", pixels(40))
        write_shards(tmp_path / "parts", np.asfortranarray(pixels(40)), [])
        with pytest.raises(ValueError, match="part-000.npy' is in Fortran order"):
            mv.datasets.load(tmp_path / "parts")


class TestBadFiles:
    def load(self, folder):
        return mv.datasets.load(folder)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (
                pixels(5)[..., :3],
                r"part-001.npy' has examples of shape \(1, 4, 3\) and dtype uint8, .*part-000.npy' of",
            ),
            (pixels(5).astype(np.float32), r"part-001.npy' has examples of shape \(1, 4, 4\) and dtype float32"),
            (np.zeros((0, 1, 4, 4), np.uint8), r"part-001.npy' must hold examples .* got shape \(0, 1, 4, 4\)"),
            (np.float32(1), r"part-001.npy' must hold examples .* got shape \(\)"),
            (np.array([None] * 5), "part-001.npy' is no readable .npy file: .*got object"),
        ],
    )
    def test_a_shard_unlike_the_first(self, tmp_path, other, message):
        write_shards(tmp_path / "parts", pixels(10), [])
        np.save(tmp_path / "parts" / "part-001.npy", other, allow_pickle=True)
        with pytest.raises(ValueError, match=message):
            self.load(tmp_path / "parts")

    def test_a_truncated_shard(self, tmp_path):
        *_, last = write_shards(tmp_path / "parts", pixels(10), [5])
        os.truncate(last, last.stat().st_size - 1)
        with pytest.raises(ValueError, match="part-001.npy' is no readable .npy file: .* takes 80 bytes, there are 79"):
            self.load(tmp_path / "parts")

    def test_no_shards(self, tmp_path):
        with pytest.raises(ValueError, match="no PNG files"):
            self.load(tmp_path)
        with pytest.raises(ValueError, match="no .npy files"):
            Shards([])

    def test_labels_that_do_not_fit(self, tmp_path):
        write_shards(tmp_path / "own", pixels(10), [], "x")
        write_shards(tmp_path / "own", np.arange(9), [], "y")
        with pytest.raises(ValueError, match=r"own: y: labels must be 10 integers, got shape \(9,\)"):
            self.load(tmp_path / "own")

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (np.zeros((9, 16)), ValueError, "flat rows, got"),
            (np.zeros((9, 2, 2, 2, 2)), ValueError, r"got \(9, 2, 2, 2, 2\)"),
            (np.zeros((9, 4, 4), np.int64), TypeError, "images must be bytes .* got int64"),
        ],
    )
    def test_large_files_of_no_images_are_refused_at_once(self, tmp_path, monkeypatch, x, error, message):
        monkeypatch.setattr(shards, "IN_MEMORY", 0)
        np.save(tmp_path / "x.npy", x)
        with pytest.raises(error, match=message):
            self.load(tmp_path / "x.npy")

    def test_values_are_checked_when_they_are_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shards, "IN_MEMORY", 0)
        x = (pixels(60) / 255).astype(np.float32)
        x[35, 0, 1, 2] = np.nan
        write_shards(tmp_path / "parts", x, [30])
        data = self.load(tmp_path / "parts")
        message = r"part-001.npy' must be finite: there is nan at index \(5, 0, 1, 2\)"
        with pytest.raises(ValueError, match=message):
            autoencoder().fit(data.x_train)

    def test_a_file_that_is_gone_or_changed_during_training(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shards, "IN_MEMORY", 0)
        first, last = write_shards(tmp_path / "parts", pixels(60), [30])
        data = self.load(tmp_path / "parts")
        with pytest.raises(FileNotFoundError, match="part-001.npy"):
            autoencoder().fit(data.x_train, on_epoch=lambda record: os.remove(last))
        np.save(last, pixels(30))
        data = self.load(tmp_path / "parts")
        with pytest.raises(ValueError, match="part-000.npy' has changed while its examples were being read"):
            autoencoder().fit(data.x_train, on_epoch=lambda record: os.truncate(first, 200))
