"""The data sets: what is embedded, what is generated, what is found in files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes
from strategies import numbers

import minivae as mv
from minivae.data import idx, make_fashion_mini, shapes

DEBIAN = Path(idx.SOURCES["fashion-mnist"].system_folder)


class TestFashionMini:
    def test_sizes_and_strata(self):
        data = mv.datasets.load("fashion-mini")
        assert data.x_train.shape == (4000, 1, 28, 28)
        assert data.x_test.shape == (1000, 1, 28, 28)
        assert (np.bincount(data.y_train) == 400).all()
        assert (np.bincount(data.y_test) == 100).all()
        assert data.x_train.dtype == np.float32
        assert (data.x_train.min(), data.x_train.max()) == (0, 1)
        assert len(data.class_names) == 10

    def test_is_small_and_licensed(self):
        assert make_fashion_mini.PATH.stat().st_size < 2_500_000
        licence = make_fashion_mini.PATH.with_name("FASHION_MNIST_LICENSE.txt").read_text()
        assert "Zalando" in licence
        assert "The above copyright notice" in licence

    def test_no_image_twice(self):
        data = mv.datasets.load("fashion-mini")
        rows = np.concatenate([data.x_train, data.x_test]).reshape(5000, -1)
        assert len(np.unique(rows, axis=0)) == 5000

    @pytest.mark.skipif(not idx.holds_all(DEBIAN), reason="Debian's package dataset-fashion-mnist is not installed")
    def test_is_what_the_script_makes(self):
        with np.load(make_fashion_mini.PATH) as embedded:
            for name, array in make_fashion_mini.make().items():
                np.testing.assert_array_equal(embedded[name], array)


class TestShapes:
    def test_the_factors_are_in_the_picture(self):
        """Centroid and area are measured on the image, independently of how it was drawn."""
        table = shapes.factors(300, seed=1)
        images = shapes.render(table, 64)[:, 0].astype(np.float64)
        centres = (np.arange(64) + 0.5) / 64
        mass = images.sum((1, 2))
        x, y = (images.sum(1) * centres).sum(1) / mass, (images.sum(2) * centres).sum(1) / mass
        symmetric = table[:, 0] < 2  # a heart's centroid is not its centre
        np.testing.assert_allclose(x[symmetric], table[symmetric, 3], atol=0.003)
        np.testing.assert_allclose(y[symmetric], table[symmetric, 4], atol=0.003)
        area = mass / 64**2 / table[:, 1] ** 2
        np.testing.assert_allclose(area[table[:, 0] == 0], 4, rtol=0.05)  # (2 scale)^2
        np.testing.assert_allclose(area[table[:, 0] == 1], np.pi * 1.3 * 0.8, rtol=0.05)
        assert area[table[:, 0] == 2].std() < 0.1

    def test_the_axis_of_an_ellipse_turns_with_its_rotation(self):
        table = np.array([[1, 0.15, angle, 0.5, 0.5] for angle in np.linspace(0, 3, 13)])
        images = shapes.render(table, 64)[:, 0]
        offset = (np.arange(64) + 0.5) / 64 - 0.5
        xx, yy = (images.sum(1) * offset**2).sum(1), (images.sum(2) * offset**2).sum(1)
        xy = (images * offset[:, None] * offset).sum((1, 2))
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        np.testing.assert_allclose(np.cos(2 * (angle - table[:, 2])), 1, atol=1e-3)

    def test_a_square_turned_by_a_right_angle_is_itself(self):
        table = np.array([[0, 0.15, 0.3, 0.5, 0.5], [0, 0.15, 0.3 + np.pi / 2, 0.5, 0.5]])
        images = shapes.render(table)
        np.testing.assert_allclose(images[0], images[1], atol=1e-5)

    def test_shifting_by_a_pixel_shifts_the_image(self):
        table = np.array([[2, 0.15, 0.7, 0.5, 0.5], [2, 0.15, 0.7, 0.5 + 1 / 64, 0.5]])
        images = shapes.render(table, 64)[:, 0]
        np.testing.assert_allclose(images[0][:, :-1], images[1][:, 1:], atol=1e-5)

    def test_the_data_set_is_deterministic_and_never_touches_the_border(self):
        a, b = mv.datasets.load("shapes"), mv.datasets.load("shapes")
        np.testing.assert_array_equal(a.x_train, b.x_train)
        np.testing.assert_array_equal(shapes.render(a.factors_test[:5], 32), a.x_test[:5])
        np.testing.assert_array_equal(a.y_train, a.factors_train[:, 0])
        everything = np.concatenate([a.x_train, a.x_test])
        assert everything[:, :, [0, -1]].max() == everything[..., [0, -1]].max() == 0

    def test_bad_factors(self):
        with pytest.raises(ValueError, match=r"\(N, 5\)"):
            shapes.render(np.zeros((3, 4)))
        with pytest.raises(ValueError, match="shape in"):
            shapes.render(np.full((1, 5), 3.0))
        with pytest.raises(ValueError, match="size"):
            shapes.render(np.zeros((1, 5)), size=4)


def write_folder(folder, n=20, compress=True, seed=0):
    """A data set of n training and n // 2 test images 5 x 4 in IDX files; returns its arrays by file."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for file in idx.FILES:
        count = n if file.startswith("train") else n // 2
        shape = (count, 5, 4) if "images" in file else (count,)
        arrays[file] = rng.integers(0, 256 if "images" in file else 10, shape).astype(np.uint8)
        raw = idx_bytes(arrays[file])
        if compress:
            (folder / f"{file}.gz").write_bytes(gzip.compress(raw))
        else:
            (folder / file).write_bytes(raw)
    return arrays


class TestIDX:
    @pytest.mark.parametrize("compress", [True, False])
    def test_round_trip(self, tmp_path, compress):
        arrays = write_folder(tmp_path, compress=compress)
        data = mv.datasets.load("mnist", folder=tmp_path)
        np.testing.assert_array_equal(np.rint(data.x_train[:, 0] * 255), arrays["train-images-idx3-ubyte"])
        np.testing.assert_array_equal(data.y_test, arrays["t10k-labels-idx1-ubyte"])
        assert data.x_train.dtype == np.float32
        assert data.y_train.dtype == np.int64

    @pytest.mark.skipif(not idx.holds_all(DEBIAN), reason="Debian's package dataset-fashion-mnist is not installed")
    def test_debians_package_is_found(self, monkeypatch, tmp_path):
        monkeypatch.delenv(idx.FOLDER, raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        data = mv.datasets.load("fashion-mnist")
        assert (data.x_train.shape, data.x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
        assert data.x_train.mean() == pytest.approx(0.28604, abs=1e-5)
        assert (np.bincount(data.y_train) == 6000).all()

    @pytest.mark.parametrize("compress", [True, False])
    def test_every_truncation_is_noticed(self, tmp_path, compress):
        write_folder(tmp_path, compress=compress)
        path = tmp_path / ("train-images-idx3-ubyte" + ".gz" * compress)
        whole = path.read_bytes()
        for length in range(0, len(whole), 23):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match="train-images"):
                mv.datasets.load("mnist", folder=tmp_path)

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"hello world", "no IDX file.*68656c6c"),
            (bytes((0, 0, 13, 1, 0, 0, 0, 0)), "no IDX file of unsigned bytes"),
            (idx_bytes(np.zeros((20, 5, 4), np.uint8)) + b"x", "must have 416 bytes .* it has 417"),
            (idx_bytes(np.zeros(20, np.uint8)), r"images \(20,\)"),
            (idx_bytes(np.zeros((19, 5, 4), np.uint8)), r"images \(19, 5, 4\) and labels \(20,\)"),
        ],
    )
    def test_foreign_files(self, tmp_path, raw, message):
        write_folder(tmp_path, compress=False)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
        with pytest.raises(ValueError, match=message):
            mv.datasets.load("mnist", folder=tmp_path)

    def test_order_of_the_search(self, tmp_path, monkeypatch):
        given, variable, cache = (tmp_path / n for n in ("given", "variable", "cache"))
        first = [
            write_folder(place, seed=i)["train-images-idx3-ubyte"]
            for i, place in enumerate((given, variable / "mnist", cache / "minivae" / "mnist"))
        ]
        monkeypatch.setenv(idx.FOLDER, str(variable))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(idx.sys, "platform", "linux")

        def found(**kwargs):
            x = np.rint(mv.datasets.load("mnist", **kwargs).x_train[:, 0] * 255)
            return [i for i, array in enumerate(first) if np.array_equal(array, x)]

        assert found(folder=given) == [0]
        assert found() == [1]
        monkeypatch.delenv(idx.FOLDER)
        assert found() == [2]
        with pytest.raises(FileNotFoundError, match="empty.*does not hold"):
            mv.datasets.load("mnist", folder=tmp_path / "empty")


class TestOwnFiles:
    def test_npy_holds_out_every_tenth(self, tmp_path):
        x = numbers(25, 6, 5, low=0, high=1, dtype=np.float32)
        np.save(tmp_path / "x.npy", x)
        data = mv.datasets.load(tmp_path / "x.npy")
        np.testing.assert_array_equal(data.x_test[:, 0], x[[9, 19, 24]])
        np.testing.assert_array_equal(data.x_train[:, 0], np.delete(x, [9, 19, 24], 0))
        assert data.y_train is None

    def test_bytes_become_the_unit_interval_and_floats_stay(self, tmp_path):
        np.save(tmp_path / "bytes.npy", np.arange(256, dtype=np.uint8).reshape(4, 8, 8))
        data = mv.datasets.load(str(tmp_path / "bytes.npy"))
        both = np.concatenate([data.x_train, data.x_test]).ravel()
        np.testing.assert_allclose(both, np.arange(256) / 255, rtol=1e-6)
        x = numbers(4, 3, 8, 8, low=-5, high=9, dtype=np.float32)
        np.save(tmp_path / "floats.npy", x)
        np.testing.assert_array_equal(mv.datasets.load(tmp_path / "floats.npy").x_train, x[:-1])

    def test_npz_with_parts_and_labels(self, tmp_path):
        x, y = numbers(6, 1, 4, 4), np.arange(6)
        np.savez(tmp_path / "a.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
        data = mv.datasets.load(tmp_path / "a.npz")
        assert (len(data.x_train), list(data.y_test)) == (4, [4, 5])
        np.savez(tmp_path / "b.npz", x=x, y=y)
        assert list(mv.datasets.load(tmp_path / "b.npz").y_test) == [5]
        np.savez(tmp_path / "c.npz", anything=x)
        assert mv.datasets.load(tmp_path / "c.npz").y_test is None

    def test_pngs_grey_and_colour_with_classes(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        rng = np.random.default_rng(0)
        for shape in ((8, 6), (8, 6, 3)):
            folder = tmp_path / str(len(shape))
            pixels = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
            for i, p in enumerate(pixels):
                place = folder / "ab"[i % 2]
                place.mkdir(parents=True, exist_ok=True)
                image.fromarray(p).save(place / f"{i}.png")
            data = mv.datasets.load(folder)
            x = np.concatenate([data.x_train, data.x_test])
            expected = pixels[[0, 2, 1, 3]]
            expected = expected[:, None] if len(shape) == 2 else expected.transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(np.rint(x * 255), expected)
            assert data.class_names == ("a", "b")
            assert list(data.y_train) == [0, 0, 1]

    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda p: np.save(p, np.zeros((4, 5))), r"got \(4, 5\)"),
            (lambda p: np.save(p, np.zeros((4, 5, 5), np.int32)), "int32"),
            (lambda p: np.save(p, np.full((4, 5, 5), np.nan)), r"nan at index \(0, 0, 0, 0\)"),
            (lambda p: np.save(p, np.zeros((1, 5, 5))), "at least 2"),
            (lambda p: p.write_bytes(b"garbage"), "no readable"),
            (lambda p: np.save(p, np.array([object()]), allow_pickle=True), "no readable"),
        ],
    )
    def test_bad_arrays(self, tmp_path, write, message):
        write(tmp_path / "x.npy")
        with pytest.raises((ValueError, TypeError), match=message):
            mv.datasets.load(tmp_path / "x.npy")

    def test_bad_npz(self, tmp_path):
        path = tmp_path / "x.npz"
        np.savez(path, a=np.zeros((2, 3, 3)), b=np.zeros(2))
        with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
            mv.datasets.load(path)
        np.savez(path, x=np.zeros((2, 3, 3)), y=np.zeros(3, int))
        with pytest.raises(ValueError, match="labels must be 2 integers"):
            mv.datasets.load(path)
        np.savez(path, x_train=np.zeros((2, 3, 3)), x_test=np.zeros((2, 4, 3)))
        with pytest.raises(ValueError, match=r"\(1, 3, 3\).*\(1, 4, 3\)"):
            mv.datasets.load(path)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ValueError, match="no readable"):
            mv.datasets.load(path)

    def test_bad_pngs(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        with pytest.raises(ValueError, match="no PNG files"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "a.png")
        image.fromarray(np.zeros((8, 7), np.uint8)).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b.png.*\(8, 7\).*\(8, 6\)"):
            mv.datasets.load(tmp_path)
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
        with pytest.raises(ValueError, match=r"b.png.*no readable PNG"):
            mv.datasets.load(tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'imagenet'.*fashion-mini, shapes, fashion-mnist, mnist"):
        mv.datasets.load("imagenet")
