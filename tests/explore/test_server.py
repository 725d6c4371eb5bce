"""The server answers its own page, and refuses others and what it cannot read, each in one line."""

import http.client
import json
import socket
from threading import Barrier, Thread

import numpy as np
import pytest
from explorers import as_bytes, asked, data, explorer, pixels, served, text_of

from minivae.explore import server as module

LATENTS = {"latents": [[0.5, -1, 0, 2]]}


@pytest.fixture(scope="module")
def vae():
    with served(explorer("vae")) as server:
        yield server


@pytest.fixture(scope="module")
def vq():
    with served(explorer("vq", 3, prior=True)) as server:
        yield server


def one_line(body):
    return body.endswith(b"\n") and body.count(b"\n") == 1 and len(body) > 5


class TestAnswers:
    @pytest.mark.parametrize("path", module.PAGES)
    def test_the_page_takes_nothing_from_elsewhere(self, vae, path):
        response, body = asked(vae, "GET", path)
        assert response.status == 200
        assert b"http:" not in body
        assert b"https:" not in body
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]

    def test_what_the_page_asks(self, vae, vq):
        assert json.loads(asked(vae, "GET", "/api/model")[1])["model"] == "VAE"
        assert len(json.loads(asked(vae, "GET", "/api/plane")[1])["points"]) == 12
        assert len(json.loads(asked(vq, "GET", "/api/codebook")[1])["books"]) == 1
        image = json.loads(asked(vae, "POST", "/api/image", {"index": 3})[1])
        np.testing.assert_array_equal(pixels(image["images"]), as_bytes(data().x_test[3:4]))
        decoded = json.loads(asked(vae, "POST", "/api/decode", LATENTS)[1])
        assert decoded == vae.explorer.decode(LATENTS)
        request = {"images": text_of(data().x_test[:1])}
        assert json.loads(asked(vae, "POST", "/api/encode", request)[1]) == vae.explorer.encode(request)

    def test_a_sample_is_a_line_for_each_code_and_one_for_the_image(self, vq):
        response, body = asked(vq, "POST", "/api/sample", {"seed": 3, "label": 1})
        lines = [json.loads(line) for line in body.splitlines()]
        assert response.status == 200
        assert [set(line) for line in lines] == [{"map", "row", "column", "code"}] * 4 + [{"codes", "images"}]

    def test_codes_are_sent_when_they_are_drawn_and_not_at_the_end(self, vq, monkeypatch):
        """The second code is only drawn when the first has been read."""
        read = Barrier(2, timeout=20)

        def sample(request, emit):
            emit({"code": 1})
            read.wait()
            emit({"code": 2})

        monkeypatch.setattr(vq.explorer, "sample", sample)
        connection = http.client.HTTPConnection("127.0.0.1", vq.server_port, timeout=30)
        connection.request("POST", "/api/sample", b"{}", {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert json.loads(response.readline()) == {"code": 1}
        read.wait()
        assert json.loads(response.readline()) == {"code": 2}
        connection.close()

    def test_a_connection_is_kept_for_the_next_request(self, vae):
        connection = http.client.HTTPConnection("127.0.0.1", vae.server_port, timeout=30)
        for _ in range(2):
            connection.request("POST", "/api/decode", json.dumps(LATENTS), {"Content-Type": "application/json"})
            first = connection.sock
            assert connection.getresponse().read()
            assert connection.sock is first
        connection.close()


class TestRefusals:
    @pytest.mark.parametrize(("method", "path", "body"), [("GET", "/", None), ("POST", "/api/decode", LATENTS)])
    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "", None])
    def test_another_host_is_403(self, vae, method, path, body, host):
        """A name of another that points to this machine (DNS rebinding) is in the Host header."""
        response, text = asked(vae, method, path, body, Host=host)
        assert response.status == 403
        assert one_line(text)

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://{own}", "http://127.0.0.1:1", "{own}"])
    def test_another_origin_is_403(self, vae, origin):
        origin = origin.format(own=f"127.0.0.1:{vae.server_port}")
        for method, path, body in (("GET", "/api/model", None), ("POST", "/api/decode", LATENTS)):
            response, text = asked(vae, method, path, body, Origin=origin)
            assert response.status == 403
            assert one_line(text)

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_its_own_names_and_origins_are_answered(self, vae, name):
        host = f"{name}:{vae.server_port}"
        response, _ = asked(vae, "POST", "/api/decode", LATENTS, Host=host, Origin=f"http://{host}")
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] is None

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"5", b"null", b"[" * 100_000, b'{"latents": 1e999}'])
    def test_what_is_no_request_is_400_in_one_line(self, vae, body):
        response, text = asked(vae, "POST", "/api/decode", body)
        assert response.status == 400
        assert one_line(text)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Content_Type": "text/plain"}, 415),
            ({"Content_Type": None}, 415),
            ({"Content_Length": None}, 411),
            ({"Content_Length": "-1"}, 411),
            ({"Content_Length": "1e3"}, 411),
            ({"Content_Length": str(module.MOST_BYTES + 1)}, 413),
            ({"Content_Length": "9" * 5000}, 413),
        ],
    )
    def test_bodies_of_other_kinds_and_sizes(self, vae, headers, status):
        response, text = asked(vae, "POST", "/api/decode", b"{}", **headers)
        assert response.status == status
        assert one_line(text)
        assert response.headers["Connection"] == "close"

    @pytest.mark.parametrize(
        "path",
        ["/page.html", "/etc/passwd", "/../setup.py", "/page.js/..", "/server.py", "/api", "/?a", "/%2e"],
    )
    def test_no_other_file_is_served(self, vae, path):
        for method, body in (("GET", None), ("POST", {})):
            response, text = asked(vae, method, path, body)
            assert response.status == 404
            assert one_line(text)

    def test_other_methods_and_lines_that_are_no_request(self, vae):
        assert asked(vae, "DELETE", "/")[0].status == 501
        with socket.create_connection(("127.0.0.1", vae.server_port), timeout=30) as client:
            client.sendall(b"what is this\r\n\r\n")
            assert one_line(client.recv(4096))

    def test_a_wrong_sample_is_400_before_anything_is_sent(self, vq, vae):
        for server, request in ((vq, {"label": 7}), (vq, {"temperature": -1}), (vae, {})):
            response, text = asked(server, "POST", "/api/sample", request)
            assert response.status == 400
            assert one_line(text)

    def test_it_listens_on_loopback_only(self, vae):
        assert vae.server_address[0] == "127.0.0.1"

    def test_a_port_that_is_taken_is_an_error(self, vae):
        with pytest.raises(OSError, match=f"port {vae.server_port} cannot be used"):
            module.PageServer(vae.explorer, vae.server_port)


class TestTwoClients:
    def test_each_gets_its_own_answers(self, vae):
        """Two clients ask at once, again and again; no answer is mixed up, and the model is never called twice."""
        inside, most, wrong = [0], [0], []
        decode = vae.explorer.model.decode

        def counted(*args):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            images = decode(*args)
            inside[0] -= 1
            return images

        vae.explorer.model.decode = counted
        try:

            def client(value):
                request = {"latents": [[value, value, 0, 0]]}
                expected = as_bytes(decode(np.array(request["latents"])))
                for _ in range(25):
                    found = json.loads(asked(vae, "POST", "/api/decode", request)[1])["images"]
                    wrong.extend([value] * (not np.array_equal(pixels(found), expected)))

            clients = [Thread(target=client, args=(value,)) for value in (-2, 2)]
            for thread in clients:
                thread.start()
            for thread in clients:
                thread.join()
        finally:
            del vae.explorer.model.decode
        assert not wrong
        assert most == [1]

    def test_a_client_that_sends_half_a_request_keeps_nobody_waiting(self, vae):
        with socket.create_connection(("127.0.0.1", vae.server_port)) as slow:
            slow.sendall(b"POST /api/decode HTTP/1.1\r\nHost: 127.0.0.1")
            assert asked(vae, "POST", "/api/decode", LATENTS)[0].status == 200
