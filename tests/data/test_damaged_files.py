"""Damaged and hostile data files either give the same images, or ValueError or OSError with the file's name.

They never take much memory. A .npy file and an IDX file without compression have no checksum, so damaged pixels cannot
be recognised there: only the number and the shape of the images are checked.
"""

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from idx_files import idx_bytes
from mutations import check, mutations
from strategies import numbers

import minivae as mv
from minivae.data import idx
from minivae.data.archive import SMALL

MOST = 3 << 20  # bytes that loading may take; the files have a few kilobytes
X, Y = (numbers(30, 8, 8, low=0, high=255).astype(np.uint8), np.arange(30) % 3)


def equal(data):
    x, y = np.concatenate([data.x_train, data.x_test]), data.y_train
    return (
        x.shape == (30, 1, 8, 8)
        and set(map(bytes, np.rint(x * 255).astype(np.uint8))) == set(map(bytes, X))
        and (y is None or len(y) == 27)
    )


def as_large(data):
    return data.x_train.shape == (27, 1, 8, 8) and data.x_test.shape == (3, 1, 8, 8)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save):
    file = io.BytesIO()
    save(file, x=X, y=Y)
    return file.getvalue()


def reshaped(data):
    """Whether a damaged .npy file was read as an array of another shape or dtype with the same number of bytes."""
    return data.x_train.size + data.x_test.size in (X.size, X.size // 2, X.size // 4, X.size // 8)


ARRAYS = {
    "x.npz": (npz(np.savez), equal),
    "deflated.npz": (npz(np.savez_compressed), equal),
    "x.npy": (npy(X), reshaped),
    "fortran.npy": (npy(np.asfortranarray(X)), reshaped),
}


def sweep_array(tmp_path, name, count, seed=0):
    whole, same = ARRAYS[name]
    path = tmp_path / name
    assert check(mv.datasets.load, path, whole, same, MOST)
    for data in mutations(whole, count, seed):
        check(load if name.endswith("npy") else mv.datasets.load, path, data, same, MOST)


def load(path):
    """Load a file; a damaged header may state a dtype that pixels cannot have, so TypeError becomes ValueError."""
    try:
        return mv.datasets.load(path)
    except TypeError as error:
        raise ValueError(*error.args) from error


@pytest.mark.parametrize("name", ARRAYS)
def test_mutated_arrays(tmp_path, name):
    sweep_array(tmp_path, name, 250)


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_many_mutated_arrays(tmp_path, name):
    sweep_array(tmp_path, name, 5_000, seed=1)


def test_a_header_that_states_too_few_images_is_refused(tmp_path):
    """A former bug: one flipped bit made (30, 8, 8) into (10, 8, 8), and the rest and the checksum were not read."""
    x = numbers(30, 40, 40, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    for name in ("x.npz", "x.npy"):
        path = tmp_path / name
        whole = path.read_bytes()
        assert whole.count(b"(30, 40, 40)") == 1
        path.write_bytes(whole.replace(b"(30, 40, 40)", b"(10, 40, 40)"))
        with pytest.raises(ValueError, match=f"{name}.*64,000 bytes, there are 192,000"):
            mv.datasets.load(path)
    (tmp_path / "two.npy").write_bytes(npy(X) + npy(X))
    with pytest.raises(ValueError, match="two.npy"):
        mv.datasets.load(tmp_path / "two.npy")


@pytest.mark.parametrize("flips", [1, 2])
def test_every_byte_of_an_archives_arrays_is_covered_by_a_checksum(tmp_path, flips):
    whole = ARRAYS["x.npz"][0]
    path, start = tmp_path / "x.npz", whole.index(X.tobytes())
    for place in range(start - 128, start + X.size, 17):
        data = bytearray(whole)
        for k in range(flips):
            data[place + k] ^= 1 << (place % 8)
        path.write_bytes(data)
        with pytest.raises(ValueError, match="x.npz"):
            mv.datasets.load(path)


def test_arrays_that_decompress_to_too_much_are_refused(tmp_path):
    """A former bug: a file of a megabyte took 1.1 GB."""
    path = tmp_path / "x.npz"
    zeros = np.zeros((64, 1024, 1024), np.uint8)
    for members in (
        {"x": npy(zeros)},
        {"x": npy(zeros[:1]) + bytes(64 << 20)},
        {"x": npy(zeros[:1])[:128] + bytes(64 << 20)},
        {"x_train": npy(zeros[:15]), "x_test": npy(zeros[:15])},
        {"x": bytes(64 << 20)},
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(f"{name}.npy", data)
        assert path.stat().st_size < 200_000
        most = (90 << 20) if len(members) == 2 else MOST  # as much as x_train may take
        assert not check(mv.datasets.load, path, path.read_bytes(), equal, most)


def test_arrays_that_compress_well_load(tmp_path):
    """Images of shapes in black and white compress to a hundredth."""
    x = np.zeros((40, 1, 64, 64), np.uint8)
    x[:, :, 20:40, 10:30] = 255
    np.savez_compressed(tmp_path / "x.npz", x=x)
    assert mv.datasets.load(tmp_path / "x.npz").x_train.shape == (36, 1, 64, 64)


@pytest.mark.parametrize("shape", ["(3", f"({10**23},)", "(-30, 8, 8)", f"({10**23}, 0)", "None", "(" * 60])
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_impossible_shapes_are_refused(tmp_path, name, shape):
    whole = npy(X)
    place = whole.index(b"(30, 8, 8), }")
    text = f"{shape}, }}".encode()
    data = whole[:place] + text.ljust(127 - place) + b"\n" + X.tobytes()
    path = tmp_path / name
    if name == "x.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", data)
        data = path.read_bytes()
    assert not check(mv.datasets.load, path, data, equal, MOST)


def test_members_that_are_not_arrays_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    for name, data in (("x.npy", b"no magic"), ("x", b""), ("only.txt", b"hello")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, data)
        assert not check(mv.datasets.load, path, path.read_bytes(), equal, MOST)


# ---- IDX ----


def write_folder(folder):
    arrays = dict(zip(idx.FILES, (X, Y, X[:10], Y[:10]), strict=True))
    for file, array in arrays.items():
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(array.astype(np.uint8)), mtime=0))


def sweep_idx(folder, packed, count, seed=0):
    write_folder(folder)
    path = folder / (idx.FILES[0] + ".gz" * packed)
    whole = idx_bytes(X)
    if packed:
        whole = gzip.compress(whole, mtime=0)
    else:
        (folder / f"{idx.FILES[0]}.gz").unlink()

    most = SMALL + MOST if packed else MOST  # memory of up to SMALL bytes is allocated before the size turns out wrong

    def same(data):
        x = np.rint(data.x_train[:, 0] * 255)
        return np.array_equal(x, X) if packed else x.size == X.size

    def load(_):
        return mv.datasets.load("mnist", folder)

    assert check(load, path, whole, same, MOST)
    for data in mutations(whole, count, seed):
        check(load, path, data, same, most)


@pytest.mark.parametrize("packed", [True, False])
def test_mutated_idx(tmp_path, packed):
    sweep_idx(tmp_path, packed, 250)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [True, False])
def test_many_mutated_idx(tmp_path, packed):
    sweep_idx(tmp_path, packed, 5_000, seed=1)


def test_gzip_files_that_decompress_to_too_much_are_refused(tmp_path):
    """A former bug: a small gzip file took 2.1 GB. Here it holds 64 MB, and the header states all, less or far more."""
    write_folder(tmp_path)
    path = tmp_path / f"{idx.FILES[0]}.gz"
    for shape in ((64, 1024, 1024), (30, 8, 8), (2**32 - 1,) * 3):
        data = gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", *shape) + bytes(64 << 20))
        assert not check(lambda _: mv.datasets.load("mnist", tmp_path), path, data, equal, MOST)
    with pytest.raises(ValueError, match=f"{idx.FILES[0]}.gz"):
        mv.datasets.load("mnist", tmp_path)


# ---- PNG ----


def png(pixels, **options):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claimed(width, height, depth=8, color=0, data=b""):
    """A PNG with the pixels in `data` whose header states this size."""
    ihdr = struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def sweep_png(folder, count, seed=0):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 20, 20)).astype(np.uint8)
    for i, p in enumerate(pixels):
        (folder / f"{i}.png").write_bytes(png(p))

    def same(data):
        return np.array_equal(np.rint(np.concatenate([data.x_train, data.x_test])[:, 0] * 255), pixels)

    path = folder / "1.png"
    assert same(mv.datasets.load(folder))
    for data in mutations(path.read_bytes(), count, seed):
        check(lambda _: mv.datasets.load(folder), path, data, same, MOST)


def test_mutated_pngs(tmp_path):
    sweep_png(tmp_path, 400)


@pytest.mark.slow
def test_many_mutated_pngs(tmp_path):
    sweep_png(tmp_path, 5_000, seed=1)


def test_large_pngs_are_refused(tmp_path):
    """A former bug: 20,000 x 20,000 pixels in a small file raised an error of Pillow's, or took all memory."""
    pytest.importorskip("PIL")
    path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((4, 4), np.uint8)))
    with pytest.raises(ValueError, match="at least 2"):
        mv.datasets.load(tmp_path)
    for data in (
        claimed(20_000, 20_000),
        claimed(8_000, 8_000, data=bytes(8_001 * 8_000)),
        claimed(8_000, 8_000, 1, data=bytes(1_001 * 8_000)),
        claimed(2**31 - 1, 2**31 - 1),
        claimed(0, 5),
        claimed(8, 8, 3, 9),
    ):
        assert not check(lambda _: mv.datasets.load(tmp_path), path, data, equal, MOST)


def test_many_pngs_that_decompress_to_too_much_are_refused(tmp_path):
    """Each file may hold a few megabytes of black pixels, but not all of them together."""
    data = png(np.zeros((2000, 2000), np.uint8))
    for i in range(20):
        (tmp_path / f"{i:02}.png").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ValueError, match=tmp_path.name):
        mv.datasets.load(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 << 20
