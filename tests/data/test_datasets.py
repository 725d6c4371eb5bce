"""The data sets: the embedded one, and those that are read from files."""

import gzip
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes
from strategies import numbers

import minivae as mv
from minivae.data import files, idx, make_fashion_mini

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
    def test_is_what_the_script_makes(self, tmp_path):
        arrays = make_fashion_mini.make(DEBIAN)
        with np.load(make_fashion_mini.PATH) as embedded:
            assert embedded.files == list(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(embedded[name], array)
        make_fashion_mini.write(tmp_path / "again.npz", arrays)
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng compresses to other bytes
            assert (tmp_path / "again.npz").read_bytes() == make_fashion_mini.PATH.read_bytes()

    @pytest.mark.skipif(not idx.holds_all(DEBIAN), reason="Debian's package dataset-fashion-mnist is not installed")
    def test_every_image_is_in_the_original_with_its_label(self):
        original, mini = idx.load_folder(DEBIAN), mv.datasets.load("fashion-mini")
        for x, y, chosen, labels in (
            (*original[:2], mini.x_train, mini.y_train),
            (*original[2:], mini.x_test, mini.y_test),
        ):
            place = {image.tobytes(): i for i, image in enumerate(x)}
            found = [place[image.tobytes()] for image in np.rint(chosen * 255).astype(np.uint8)]
            np.testing.assert_array_equal(y[found], labels)

    def test_the_file_holds_neither_the_date_nor_the_operating_system(self, tmp_path, monkeypatch):
        def write(name):
            make_fashion_mini.write(tmp_path / name, {"x": np.arange(1000, dtype=np.uint8), "y": np.zeros(3)})
            return (tmp_path / name).read_bytes()

        first = write("a.npz")
        monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((2031, 5, 4, 3, 2, 1, 0, 1, 0)))
        monkeypatch.setattr(zipfile.sys, "platform", "win32")
        assert write("b.npz") == first
        with np.load(tmp_path / "b.npz") as loaded:
            np.testing.assert_array_equal(loaded["x"], np.arange(1000, dtype=np.uint8))


def write_folder(folder, n=20, compress=True, seed=0):
    """Write n training and n // 2 test images of 5 x 4 pixels as IDX files and return their arrays by file name."""
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
            (b"hello world", "no readable IDX file.*68656c6c"),
            (bytes((0, 0, 13, 3, 0, 0, 0, 0)), "expected it to begin with 00000803, found 00000d03"),
            (idx_bytes(np.zeros((20, 5, 4), np.uint8)) + b"x", r"expected 416 bytes for shape \(20, 5, 4\), found 417"),
            (idx_bytes(np.zeros(20, np.uint8)), "expected it to begin with 00000803, found 00000801"),
            (
                idx_bytes(np.zeros((19, 5, 4), np.uint8)),
                r"images.* has shape \(19, 5, 4\), .*labels.* has shape \(20,\)",
            ),
            (idx_bytes(np.zeros((20, 0, 4), np.uint8)), r"\(20, 0, 4\)"),
            (bytes((0, 0, 8, 3)) + b"\xff" * 12, "expected 79,228,162,458,924,105,385,300,197,391 bytes"),
        ],
    )
    def test_foreign_files_are_refused(self, tmp_path, raw, message):
        write_folder(tmp_path, compress=False)
        (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
        with pytest.raises(ValueError, match=message):
            mv.datasets.load("mnist", folder=tmp_path)

    def test_labels_beyond_the_classes(self, tmp_path):
        labels = write_folder(tmp_path, compress=False)["t10k-labels-idx1-ubyte"].copy()
        labels[3] = 10
        (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        with pytest.raises(ValueError, match="t10k-labels.* below 10, found 10"):
            mv.datasets.load("mnist", folder=tmp_path)

    def test_a_folder_of_another_data_set_is_skipped(self, tmp_path, monkeypatch):
        """The files of MNIST and Fashion-MNIST have the same names."""
        write_folder(tmp_path / "fashion-mnist", seed=1)
        mnist = write_folder(tmp_path / "cache" / "minivae" / "mnist", seed=2)["t10k-labels-idx1-ubyte"]
        monkeypatch.setenv(idx.FOLDER, str(tmp_path / "fashion-mnist"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(idx.sys, "platform", "linux")
        np.testing.assert_array_equal(mv.datasets.load("mnist").y_test, mnist)
        assert len(mv.datasets.load("fashion-mnist").y_test) == 10

    def test_order_of_the_search(self, tmp_path, monkeypatch):
        given, variable, cache, system = (tmp_path / n for n in ("given", "variable", "cache", "system"))
        first = [
            write_folder(place, seed=i)["train-images-idx3-ubyte"]
            for i, place in enumerate((given, variable / "mnist", system, cache / "minivae" / "mnist", variable))
        ]
        monkeypatch.setenv(idx.FOLDER, str(variable))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(idx.sys, "platform", "linux")
        monkeypatch.setitem(idx.SOURCES, "mnist", idx.SOURCES["mnist"]._replace(system_folder=str(system)))

        def found(**kwargs):
            x = np.rint(mv.datasets.load("mnist", **kwargs).x_train[:, 0] * 255)
            return [i for i, array in enumerate(first) if np.array_equal(array, x)]

        assert found(folder=given) == [0]
        assert found() == [1]
        (variable / "mnist" / f"{idx.FILES[3]}.gz").unlink()  # a folder that lacks a file is not used
        assert found() == [4]
        monkeypatch.delenv(idx.FOLDER)
        assert found() == [2]
        monkeypatch.setitem(idx.SOURCES, "mnist", idx.SOURCES["mnist"]._replace(system_folder=None))
        assert found() == [3]
        with pytest.raises(FileNotFoundError, match="empty.*does not hold"):
            mv.datasets.load("mnist", folder=tmp_path / "empty")


class TestOwnFiles:
    def test_npy_holds_out_every_tenth(self, tmp_path):
        x = numbers(25, 6, 5, low=0, high=1, dtype=np.float32)
        np.save(tmp_path / "x.npy", x)
        data = mv.datasets.load(tmp_path / "x.npy")
        np.testing.assert_array_equal(data.x_test[:, 0], x[[9, 19]])
        np.testing.assert_array_equal(data.x_train[:, 0], np.delete(x, [9, 19], 0))
        assert data.y_train is None
        np.save(tmp_path / "few.npy", x[:3])
        np.testing.assert_array_equal(mv.datasets.load(tmp_path / "few.npy").x_test[:, 0], x[2:3])

    def test_bytes_become_the_unit_interval_and_floats_stay(self, tmp_path):
        np.save(tmp_path / "bytes.npy", np.arange(256, dtype=np.uint8).reshape(4, 8, 8))
        data = mv.datasets.load(str(tmp_path / "bytes.npy"))
        both = np.concatenate([data.x_train, data.x_test]).ravel()
        np.testing.assert_array_equal(both, (np.arange(256) / 255).astype(np.float32))
        assert data.value_range == (0, 1)
        x = numbers(4, 3, 8, 8, low=-5, high=9, dtype=np.float32)
        np.save(tmp_path / "floats.npy", x)
        data = mv.datasets.load(tmp_path / "floats.npy")
        np.testing.assert_array_equal(data.x_train, x[:-1])
        assert data.value_range == (x.min(), x.max())
        np.save(tmp_path / "bits.npy", x > 2)
        np.testing.assert_array_equal(mv.datasets.load(tmp_path / "bits.npy").x_train, x[:-1] > 2)

    def test_flat_rows_need_a_shape(self, tmp_path):
        x = numbers(4, 3, 5, 2, dtype=np.float32)
        np.save(tmp_path / "x.npy", x.reshape(4, 30))
        np.testing.assert_array_equal(mv.datasets.load(tmp_path / "x.npy", image_shape=(3, 5, 2)).x_train, x[:-1])
        with pytest.raises(ValueError, match=r"expected shape \(N, 1, 5, 5\) or \(N, 25\), got \(4, 30\)"):
            mv.datasets.load(tmp_path / "x.npy", image_shape=(1, 5, 5))

    def test_channels_last_are_not_taken_for_rows(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((4, 8, 6, 3), np.uint8))
        with pytest.raises(ValueError, match=r"got \(4, 8, 6, 3\).*transpose\(0, 3, 1, 2\)"):
            mv.datasets.load(tmp_path / "x.npy")
        assert mv.datasets.load(tmp_path / "x.npy", image_shape=(8, 6, 3)).x_train.shape == (3, 8, 6, 3)

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
            (lambda p: np.save(p, np.zeros((4, 5))), r"flat rows, got \(4, 5\), need an image_shape"),
            (lambda p: np.save(p, np.zeros((0, 5, 5))), r"got \(0, 1, 5, 5\)"),
            (lambda p: np.save(p, np.full((4, 5, 5), 1e300)), r"inf at index \(0, 0, 0, 0\)"),
            (lambda p: p.write_bytes(b""), "begins with nothing"),
            (lambda p: np.save(p, np.zeros((4, 5, 5), np.int32)), "int32"),
            (lambda p: np.save(p, np.full((4, 5, 5), np.nan)), r"nan at index \(0, 0, 0, 0\)"),
            (lambda p: np.save(p, np.zeros((1, 5, 5))), "at least 2"),
            (lambda p: p.write_bytes(b"garbage"), "no readable .* it begins with 676172"),
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
        whole = path.read_bytes()
        for length in range(0, len(whole), 37):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match="no readable"):
                mv.datasets.load(path)

    def test_arrays_of_other_names_are_not_read(self, tmp_path):
        path, x = tmp_path / "x.npz", numbers(12, 1, 3, 3)
        np.savez(path, x=x, notes=np.array([object()]), allow_pickle=True)
        assert len(mv.datasets.load(path).x_train) == 11

    def test_bad_pngs(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        with pytest.raises(ValueError, match="no PNG files"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "a.png")
        image.fromarray(np.zeros((8, 7), np.uint8)).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b.png.*\(8, 7\).*\(8, 6\)"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b.png.*\(8, 6, 3\).*\(8, 6\)"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6), np.uint16)).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b.png.* 8 bits per channel"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6, 4), np.uint8)).save(tmp_path / "b.png")
        with pytest.raises(ValueError, match=r"b.png.* opaque; it is RGBA"):
            mv.datasets.load(tmp_path)
        image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "b.png", transparency=0)
        with pytest.raises(ValueError, match=r"b.png.* opaque"):
            mv.datasets.load(tmp_path)
        (tmp_path / "class").mkdir()
        image.fromarray(np.zeros((8, 6), np.uint8)).save(tmp_path / "class" / "c.png")
        with pytest.raises(ValueError, match="it holds both"):
            mv.datasets.load(tmp_path)
        (tmp_path / "class" / "c.png").unlink()
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
        with pytest.raises(ValueError, match=r"b.png.*no readable PNG"):
            mv.datasets.load(tmp_path)


def test_an_unknown_name_lists_the_known_ones():
    known = "fashion-mini, shapes, syllables, moving-clothes, fashion-mnist, mnist"
    with pytest.raises(ValueError, match=f"'imagenet'.*{known}"):
        mv.datasets.load("imagenet")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mv.datasets.load("fashion-mini", folder="."), ValueError, "folder"),
        (lambda: mv.datasets.load("x.npy", folder="."), ValueError, "folder"),
        (lambda: mv.datasets.load("mnist", image_shape=(1, 28, 28)), ValueError, "image_shape"),
        (lambda: mv.datasets.load("fashion-mini", image_shape=(1, 28, 28)), ValueError, "image_shape"),
        (lambda: mv.datasets.load(Path(__file__).parent, image_shape=(1, 8, 8)), ValueError, "image_shape"),
        (lambda: mv.datasets.load("shapes", image_shape=(8, 8)), ValueError, r"\(C, H, W\).*, got \(8, 8\)"),
        (lambda: mv.datasets.load("shapes", image_shape=(1, 4, 4)), ValueError, "at least 8, got 4"),
        (lambda: mv.datasets.load(7), TypeError, "a str or a Path, got 7"),
    ],
)
def test_no_argument_is_ignored(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_path_is_never_a_known_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("shapes").open("wb") as file:
        np.save(file, np.zeros((3, 2, 2)))
    assert mv.datasets.load(Path("shapes")).x_train.shape == (2, 1, 2, 2)


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'minivae\[cli\]'"):
        mv.datasets.load(tmp_path)


def test_importing_the_package_needs_numpy_only():
    code = "import sys, minivae.data; assert not {'pooch', 'tqdm', 'PIL', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_converting_makes_no_copy_but_the_result():
    x = np.zeros((20_000, 28, 28), np.uint8)
    tracemalloc.start()
    images = files.as_images(x, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.05 * images.nbytes
