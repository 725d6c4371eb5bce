"""Damaged and hostile model files: equal weights, or ValueError or OSError that names the file; never much memory."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from mutations import check, mutations
from strategies import numbers

from minivae.models import VAE, VQVAE, PixelCNN, load
from minivae.training import load_checkpoint, save_checkpoint

SMALL = {"image_shape": (1, 8, 8), "latent_dim": 2, "arch": "dense", "hidden": (6,)}
MOST = 3 << 20  # bytes; the model has 8 KB
LARGE = 10**10


@pytest.fixture(params=[".npz", ".safetensors"])
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


def as_model(state):
    return same_as(state, VAE(**SMALL).get_params())


def same_as(state, params, kind="VAE"):
    def same(model):
        own = model.state_dict()
        return (
            type(model).__name__ == kind
            and model.get_params() == params
            and own.keys() == state.keys()
            and all(own[k].tobytes() == v.tobytes() and own[k].dtype == v.dtype for k, v in state.items())
        )

    return same


def sweep(tmp_path, suffix, count, seed=0):
    model, path = VAE(**SMALL), tmp_path / f"model{suffix}"
    model.save(path)
    whole, same = path.read_bytes(), as_model(model.state_dict())
    loaded = [check(load, path, data, same, MOST) for data in mutations(whole, count, seed)]
    assert check(load, path, whole, same, MOST)
    assert sum(loaded) < count / 4


def test_mutated_models(tmp_path, suffix):
    sweep(tmp_path, suffix, 250)


@pytest.mark.slow
def test_many_mutated_models(tmp_path, suffix):
    sweep(tmp_path, suffix, 5_000, seed=1)


def test_every_flipped_bit_of_an_array_is_refused(tmp_path, suffix):
    """Safetensors has no checksum of its own: the digest in the metadata is what notices."""
    model, path = VAE(**SMALL), tmp_path / f"model{suffix}"
    model.save(path)
    whole, weight = bytearray(path.read_bytes()), model.state_dict()["encoder.1.weight"].tobytes()
    start = whole.index(weight)
    for bit in range(0, 8 * len(weight), 61):
        damaged = bytearray(whole)
        damaged[start + bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"model{suffix}.*no readable"):
            load(path)


def test_changed_plain_values_are_refused(tmp_path, suffix):
    """Bug: beta, changed by one bit of a .safetensors file, was taken."""
    path = tmp_path / f"model{suffix}"
    VAE(**SMALL, beta=2.5).save(path)
    whole = path.read_bytes()
    number = "2.5".encode("utf-32-le" if suffix == ".npz" else "ascii")
    path.write_bytes(whole.replace(number, number.replace(b"2", b"3")))
    with pytest.raises(ValueError, match="no readable"):
        load(path)


def test_a_member_of_another_file_is_refused(tmp_path):
    """Each member of a zip archive has a good checksum, the whole is of no model that ever was."""
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        VAE(**SMALL).save(path)
    with zipfile.ZipFile(paths[0]) as a, zipfile.ZipFile(paths[1]) as b:
        members = {name: a.read(name) for name in a.namelist()}
        members["encoder.1.weight.npy"] = b.read("encoder.1.weight.npy")
    write_zip(tmp_path / "mixed.npz", members)
    with pytest.raises(ValueError, match="mixed.npz.*digest"):
        load(tmp_path / "mixed.npz")


def without_digest(path, arrays, meta):
    """What versions before the digest wrote."""
    if path.suffix == ".npz":
        np.savez(path, **{"minivae": np.array(json.dumps(meta)), **arrays})
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path, {"minivae": json.dumps(meta)})


def test_files_without_a_digest_load(tmp_path, suffix):
    model, path = VAE(**SMALL), tmp_path / f"old{suffix}"
    without_digest(path, model.state_dict(), {"model": "VAE", "params": model.get_params()})
    assert as_model(model.state_dict())(load(path))
    assert "digest" not in load_checkpoint(path)[1]


# ---- files that are whole and mean harm, or nothing ----


def npy(text, data=b"", version=1):
    """A .npy stream with this header."""
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(header)) + header + data


def header(shape, descr="<f4"):
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def model_file(path, params=None, change=None, compression=zipfile.ZIP_STORED, meta=None):
    """A VAE in a .npz archive without digest, some of its metadata or members replaced."""
    model = VAE(**SMALL)
    meta = {"model": "VAE", "params": {**model.get_params(), **(params or {})}} if meta is None else meta
    members = {"minivae.npy": saved(np.array(meta if isinstance(meta, str) else json.dumps(meta)))}
    members |= {f"{name}.npy": saved(array) for name, array in model.state_dict().items()}
    write_zip(path, {k: v for k, v in {**members, **(change or {})}.items() if v is not None}, compression)


def refused(path):
    assert not check(load, path, path.read_bytes(), lambda _: False, MOST)


def test_the_file_that_is_changed_below_loads(tmp_path):
    model_file(tmp_path / "m.npz")
    assert isinstance(load(tmp_path / "m.npz"), VAE)


@pytest.mark.parametrize(
    "meta",
    [
        *([], 7, None, "[1", "", "nonsense", {}, {"model": "VAE"}, {"model": [], "params": {}}, {"model": {}}),
        *({"model": "VAE", "params": p} for p in (None, 7, [], "x", {"unknown": 1}, {"hidden": {"a": 1}})),
        {"model": "VAE", "params": {}},
        "[" * 100_000,
        '{"model": "VAE", "params": {"hidden": ' + "[" * 600 + "]" * 600 + "}}",
        '{"model": "VAE", "params": {"latent_dim": 1e400}}',
    ],
    ids=lambda m: str(m)[:40],
)
def test_metadata_that_is_of_no_model(tmp_path, meta):
    model_file(tmp_path / "m.npz", meta=json.dumps(meta) if meta is None else meta)
    refused(tmp_path / "m.npz")


@pytest.mark.parametrize(
    "params",
    [
        *({"latent_dim": n} for n in (LARGE, 10**23, -1, 0, "2", None, [2], 2.5)),
        *({"hidden": h} for h in ([LARGE], [6, LARGE], [[6]], 6, "6", [0], [True, None])),
        *({"image_shape": s} for s in ([1, LARGE, LARGE], [1, 8], "abc", None, [1, 8, None], [1, 8, 1e300])),
        *({"arch": a} for a in ("conv", [], None)),
        *({"likelihood": a} for a in ([], None, "gaussian")),
        {"arch": "conv", "channels": [LARGE]},
        {"beta": "much"},
        {"kl_warmup": []},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_the_weights(tmp_path, params):
    """Bug: latent_dim = 10^10 in a file of ten kilobytes was tried out."""
    model_file(tmp_path / "m.npz", params)
    refused(tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("model", "large"),
    [
        (VQVAE, {"codes": LARGE}),
        (VQVAE, {"code_dim": LARGE}),
        (VQVAE, {"channels": LARGE}),
        (VQVAE, {"residual_blocks": LARGE}),
        (PixelCNN, {"values": LARGE}),
        (PixelCNN, {"layers": LARGE}),
        (PixelCNN, {"kernel": LARGE + 1}),
        (PixelCNN, {"hidden": LARGE}),
        (PixelCNN, {"classes": LARGE}),
    ],
)
def test_large_arguments_of_the_other_models(tmp_path, model, large):
    small = {VQVAE: {"image_shape": (1, 8, 8), "codes": 4, "code_dim": 2, "channels": 4, "residual_channels": 2}}
    whole = model(**small.get(model, {"map_shape": (2, 2), "values": 4, "channels": 4, "layers": 2, "hidden": 4}))
    state, params, path = whole.state_dict(), whole.get_params(), tmp_path / "m.npz"
    whole.save(path)
    assert same_as(state, params, model.__name__)(load(path))
    save_checkpoint(path, state, {"model": model.__name__, "params": {**params, **large}})
    refused(path)


BIAS = "encoder.1.bias.npy"  # (6,) of float32


@pytest.mark.parametrize(
    "member",
    [
        None,  # missing
        b"",
        b"no magic here",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff",
        npy(header("(3")),
        npy(header("(6,)"), bytes(20)),
        npy(header("(6,)"), bytes(28)),
        npy(header("(5,)"), bytes(20)),
        npy(header("(3,)", "<f8"), bytes(24)),
        npy(header("(6,)", "<i4"), bytes(24)),
        npy(header("(-6,)"), bytes(24)),
        npy(header("(True, 6)"), bytes(24)),
        npy(header(f"({10**23},)"), bytes(24)),
        npy(header(f"({10**23},)", "|V0")),
        npy(header(f"(0, {10**23})"), b""),
        npy(header("(6,)", "|O"), bytes(48)),
        npy(header("(6,)", "x"), bytes(24)),
        npy(header("()").replace("()", "(" * 90)),
        npy("{" * 100),
        npy("[1, 2]"),
        npy(header("(6,)"), bytes(24), version=9),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 1000,
    ],
    ids=range(23),
)
def test_members_that_are_no_array_of_the_model(tmp_path, member):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        model_file(tmp_path / "m.npz", change={BIAS: member}, compression=compression)
        refused(tmp_path / "m.npz")


def test_members_that_decompress_to_much(tmp_path):
    """Bug: a file of a megabyte took 1.1 GB. Here 64 MB, of which the header says little, much, or nothing."""
    much = bytes(64 << 20)
    path = tmp_path / "m.npz"
    for member in (
        npy(header("(6,)"), much),
        npy(header(f"({16 << 20},)"), much),
        much,
        b"\x93NUMPY\x02\x00" + struct.pack("<I", len(much)) + much,
    ):
        model_file(path, change={BIAS: member}, compression=zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 200_000
        refused(path)
    model_file(path, change={"minivae.npy": saved(np.array("x" * (16 << 20)))}, compression=zipfile.ZIP_DEFLATED)
    refused(path)


def test_a_large_model_in_a_small_file(tmp_path):
    """Bug: weights of zeros, all as the metadata says, a thousand times as large as the file."""
    path, model = tmp_path / "m.npz", VAE(**{**SMALL, "hidden": (100_000,)})
    state = {name: np.zeros_like(array) for name, array in model.state_dict().items()}
    np.savez_compressed(path, minivae=np.array(json.dumps({"model": "VAE", "params": model.get_params()})), **state)
    refused(path)


def test_archives_that_are_odd(tmp_path):
    path = tmp_path / "m.npz"
    model_file(path)
    whole = path.read_bytes()
    entry = b"PK\x01\x02\x14\x03\x14\x00"  # of the directory; flags and method follow
    cases = {
        "encrypted": whole.replace(entry + b"\0\0", entry + b"\1\0"),
        "method": whole.replace(entry + b"\0\0\0\0", entry + b"\0\0\x63\0"),
        "npy": saved(np.zeros(3)),
        "empty": b"",
        "directory only": b"PK\x05\x06" + bytes(18),
    }
    for name, data in cases.items():
        assert data != whole, name
        assert not check(load, path, data, lambda _: False, MOST), name
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(BIAS, saved(np.ones(6, np.float32)))
    refused(path)
    model_file(path, change={"notes.txt": b"hello"})
    refused(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}'])
def test_odd_headers_of_safetensors(tmp_path, text):
    pytest.importorskip("safetensors")
    path = tmp_path / "m.safetensors"
    for length in (len(text), 10**12, 2**63):
        data = struct.pack("<Q", length) + text.encode()
        assert not check(load, path, data, lambda _: False, MOST)


def test_safetensors_of_others(tmp_path):
    """No metadata, or element types that NumPy does not have."""
    pytest.importorskip("safetensors")
    path = tmp_path / "m.safetensors"
    for dtype, meta in (
        ("F32", {}),
        ("BF16", {"__metadata__": {"minivae": "{}"}}),
        ("F32", {"__metadata__": {"a": "b"}}),
    ):
        text = json.dumps(
            {**meta, "w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 4 if dtype == "BF16" else 8]}}
        )
        data = struct.pack("<Q", len(text)) + text.encode() + bytes(4 if dtype == "BF16" else 8)
        assert not check(load, path, data, lambda _: False, MOST)


# ---- training that goes on ----


IMAGES = numbers(20, 1, 8, 8, low=0, high=1, dtype=np.float32)


def resumed(path):
    return VAE(**SMALL).fit(IMAGES, epochs=2, checkpoint=path, resume=True)


@pytest.fixture
def training(tmp_path):
    """A checkpoint behind two epochs, so that there is nothing more to train."""
    path = tmp_path / "checkpoint.npz"
    VAE(**SMALL).fit(IMAGES, epochs=2, checkpoint=path)
    return path


def test_mutated_checkpoints(training):
    whole = training.read_bytes()
    arrays, _ = load_checkpoint(training)
    state = {k.removeprefix("model/"): v for k, v in arrays.items() if k.startswith("model/")}
    for data in mutations(whole, 120):
        check(resumed, training, data, as_model(state), MOST)
        training.write_bytes(whole)
    assert as_model(state)(resumed(training))


ORDER = {"seed": 0, "epoch": 2, "position": 0, "examples": 20, "batch_size": 128}


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in ("batches", "generator", "schedule", "steps", "history")),
        *({"batches": b} for b in ([], {}, {"seed": "x"}, {**ORDER, "position": 1}, {**ORDER, "epoch": -1})),
        *(
            {"generator": g}
            for g in ({}, {"seed": -1, "draw": 0}, {"seed": 0, "draw": "x"}, {"seed": 2**70, "draw": 0})
        ),
        *({"schedule": s} for s in ({}, [], {"base_lr": "x", "steps": 0})),
        *({"history": h} for h in (7, [7], {"a": 1})),
        {"steps": "many"},
        {"params": None},
    ],
    ids=str,
)
def test_checkpoints_whose_plain_values_are_none(training, change):
    """Nothing has changed in the model when it is refused."""
    arrays, meta = load_checkpoint(training)
    save_checkpoint(training, arrays, {k: v for k, v in {**meta, **change}.items() if v is not None})
    before = (model := VAE(**SMALL)).state_dict()
    with pytest.raises(ValueError, match="checkpoint.npz"):
        model.fit(IMAGES, epochs=2, checkpoint=training, resume=True)
    assert as_model(before)(model)


def test_checkpoints_whose_arrays_do_not_fit(training):
    arrays, meta = load_checkpoint(training)
    name = "optimizer/m.0"
    for other in (arrays[name].astype(np.float64), arrays[name][:-1], np.zeros(0, np.float32)):
        save_checkpoint(training, {**arrays, name: other}, meta)
        with pytest.raises(ValueError, match=f"checkpoint.npz.*{name}"):
            resumed(training)
    save_checkpoint(training, {k: v for k, v in arrays.items() if k != name}, meta)
    with pytest.raises(ValueError, match=f"checkpoint.npz.*missing.*{name}"):
        resumed(training)
