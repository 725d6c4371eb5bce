"""Checkpoints: data only, whole or not at all."""

import os
import pickle

import numpy as np
import pytest

from minivae.training import load_checkpoint, save_checkpoint
from minivae.training.checkpoint import atomic_write

ARRAYS = {"a/weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3), "empty": np.zeros((0, 2))}
META = {"model": "VAE", "params": {"hidden": [3, 4], "beta": 0.5, "none": None}}


@pytest.fixture(params=[".npz", ".safetensors"])
def path(request, tmp_path):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return tmp_path / f"checkpoint{request.param}"


def test_round_trip(path):
    save_checkpoint(path, ARRAYS, META)
    arrays, meta = load_checkpoint(path)
    assert meta == META
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_every_truncation_is_noticed(path):
    save_checkpoint(path, ARRAYS, META)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{path.name}.*no readable minivae checkpoint"):
            load_checkpoint(path)


def test_a_flipped_bit_in_an_array_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, ARRAYS, META)
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS["a/weight"].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no readable minivae checkpoint"):
        load_checkpoint(path)


def test_foreign_files(tmp_path):
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, x=np.zeros(3))
    with pytest.raises(ValueError, match="no readable minivae checkpoint"):
        load_checkpoint(foreign)
    foreign.write_text("hello")
    with pytest.raises(ValueError, match="no readable minivae checkpoint"):
        load_checkpoint(foreign)
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        load_checkpoint(tmp_path / "absent.npz")


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    path = tmp_path / "checkpoint.npz"
    np.savez(path, minivae=np.array(Trap(), dtype=object))
    with pytest.raises(ValueError, match="no readable minivae checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="no readable minivae checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "trapped").exists()


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_litter(path, monkeypatch):
    save_checkpoint(path, ARRAYS, META)
    before = path.read_bytes()

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"a": np.zeros(1000)}, META)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        save_checkpoint(tmp_path / "model.pkl", ARRAYS, META)
    with pytest.raises(ValueError, match="'minivae'"):
        save_checkpoint(tmp_path / "model.npz", {"minivae": np.zeros(1)}, META)
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "absent" / "model.npz", ARRAYS, META)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_or_device_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="device or a pipe"):
        atomic_write(pipe, lambda file: file.write(b"x"))
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
