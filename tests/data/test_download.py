"""Downloads from a server on this machine: complete, truncated, with a wrong checksum, missing, and offline."""

import gc
import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from idx_files import idx_bytes

import minivae as mv
from minivae.data import idx

pytest.importorskip("pooch")
# After a failed download, requests leaves its socket to the garbage collector, which the fixture runs.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def content():
    rng = np.random.default_rng(0)
    shapes = {"train-images-idx3-ubyte": (6, 5, 4), "train-labels-idx1-ubyte": (6,)}
    shapes |= {"t10k-images-idx3-ubyte": (3, 5, 4), "t10k-labels-idx1-ubyte": (3,)}
    return {f: gzip.compress(idx_bytes(rng.integers(0, 10, s).astype(np.uint8)), mtime=0) for f, s in shapes.items()}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror whose files and behaviour the tests change; the expected checksums are those of its original files."""
    files = content()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests.append(self.path)
            name = self.path.rsplit("/", 1)[-1].removesuffix(".gz")
            if name not in state.files:
                self.send_error(404)
                return
            body = state.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if name in state.cut else body)

        def log_message(self, *_):
            pass

    state = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.files, state.cut, state.requests = files, set(), []
    thread = threading.Thread(target=state.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{state.server_port}"
    monkeypatch.setenv(idx.MIRROR, state.address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(idx.FOLDER, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(idx.sys, "platform", "linux")
    md5 = {f: hashlib.md5(raw).hexdigest() for f, raw in files.items()}
    monkeypatch.setitem(idx.SOURCES, "mnist", idx.SOURCES["mnist"]._replace(md5=md5))
    state.cache = tmp_path / "minivae" / "mnist"
    yield state
    state.shutdown()
    thread.join()
    state.server_close()
    gc.collect()


def test_a_complete_download_is_kept_in_the_cache(server):
    data = mv.datasets.load("mnist")
    assert data.x_train.shape == (6, 1, 5, 4)
    assert len(server.requests) == 4
    assert all(path.startswith("/mnist/") for path in server.requests)
    mv.datasets.load("mnist")
    assert len(server.requests) == 4, "the second time it comes from the cache"


def fails(server, message):
    with pytest.raises(OSError, match=message) as error:
        mv.datasets.load("mnist")
    assert server.address in str(error.value)
    assert "$MINIVAE_DATA" in str(error.value)
    assert str(server.cache) in str(error.value), "where the files can be put by hand"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", [idx.FILES[0], idx.FILES[3]])
def test_after_a_truncated_download_the_next_one_succeeds(server, file):
    server.cut.add(file)
    fails(server, f"could not download .*{file}.gz .*IncompleteRead")
    left_behind = {path.name for path in server.cache.iterdir()}
    assert left_behind == {f"{whole}.gz" for whole in idx.FILES[: idx.FILES.index(file)]}
    server.cut.clear()
    assert mv.datasets.load("mnist").x_train.shape == (6, 1, 5, 4)


def test_a_file_with_a_wrong_checksum_is_not_kept(server):
    whole = server.files[idx.FILES[1]]
    server.files[idx.FILES[1]] = whole[:-1] + bytes([whole[-1] ^ 1])
    fails(server, "checksum is wrong")
    assert not (server.cache / f"{idx.FILES[1]}.gz").exists()


def test_a_file_that_the_server_lacks(server):
    del server.files[idx.FILES[2]]
    fails(server, "404")


def test_offline(server, monkeypatch):
    monkeypatch.setenv(idx.MIRROR, "http://127.0.0.1:9")  # the discard port, where nobody listens
    with pytest.raises(OSError, match=r"could not download http://127.0.0.1:9/mnist/.*ConnectionRefusedError"):
        mv.datasets.load("mnist")
    assert list(server.cache.iterdir()) == []


def test_the_logger_of_pooch_is_left_as_it_was(server, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch.get_logger(), "level", 17)
    mv.datasets.load("mnist")
    assert pooch.get_logger().level == 17


def test_a_cache_that_cannot_be_made(server):
    server.cache.parent.write_text("a file where the folder should be")
    fails(server, "could not download .*(FileExists|NotADirectory)Error")


def test_without_pooch(server, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'minivae\[cli\]'"):
        mv.datasets.load("mnist")
