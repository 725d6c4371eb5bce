"""The server of the page: loopback only, for this page only, one model call at a time.

    GET  /  /page.css  /page.js  ...              the page; nothing else of this machine is served
    GET  /api/model  /api/plane  /api/codebook    JSON, see Explorer
    POST /api/decode  /api/encode  /api/image     JSON in, JSON out
    POST /api/sample                              JSON in, a line of JSON for each code as it is drawn

Who may ask? Any page that the user has open could send requests to this port. A request is refused with 403 unless its
Host is this server (another name that was made to point here, "DNS rebinding", is not) and its Origin, if it has one,
is this page. Bodies must be JSON, which another origin cannot send without asking first, and have at most MOST_BYTES.
What is wrong with a request is said in one line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from .explorer import Explorer

ADDRESS = "127.0.0.1"
MOST_BYTES = 1 << 20
SCRIPTS = ("page.js", "media.js", "latents.js", "codes.js", "image.js")
PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}": (name, "text/javascript; charset=utf-8") for name in SCRIPTS},
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
WRONG = (ValueError, TypeError, IndexError, FloatingPointError, OverflowError, RecursionError, MemoryError)


class RefusedError(Exception):
    """It is a request that is answered with this status and this line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class PageServer(ThreadingHTTPServer):
    """It serves the page of an Explorer at `url`. port: 0 takes a free one. Raises OSError for one that is taken."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # where it would let two servers share a port

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        self.explorer, self.lock = explorer, Lock()
        self.pages = {path: (files(__package__) / name).read_bytes() for path, (name, _) in PAGES.items()}
        try:
            super().__init__((ADDRESS, port), PageHandler)
        except OSError as error:
            raise OSError(f"port {port} cannot be used: {error.strerror}") from error
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        if self.server_port == 80:
            self.hosts |= {ADDRESS, "localhost"}

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that has gone away."""


class PageHandler(BaseHTTPRequestHandler):
    """It answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "minivae", ""
    timeout = 60
    disable_nagle_algorithm = True  # headers and body are two packets, and the second would wait for an answer
    server: PageServer

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _answered(self, answer: Callable[[], None]) -> None:
        """Answer a request, or say in one line what is wrong with it."""
        try:
            self._check_sender()
            answer()
        except RefusedError as refused:
            self.send_error(refused.status, str(refused))
        except WRONG as error:
            self.send_error(400, str(error) or type(error).__name__)
        except OSError:  # the client has gone away
            self.close_connection = True

    def _check_sender(self) -> None:
        """Refuse requests for another host, or from a page of another origin."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in self.server.hosts:
            raise RefusedError(403, f"this server is {self.server.url}, not {hosts[0] if hosts else 'without a name'}")
        for origin in self.headers.get_all("Origin", []):
            if origin.removeprefix("http://") not in self.server.hosts or not origin.startswith("http://"):
                raise RefusedError(403, f"requests must come from the page of this server, not from {origin}")

    def _get(self) -> None:
        explorer = self.server.explorer
        asked = {"/api/model": explorer.describe, "/api/plane": explorer.plane, "/api/codebook": explorer.codebook}
        if self.path in self.server.pages:
            self._send(200, PAGES[self.path][1], self.server.pages[self.path])
        elif self.path in asked:
            with self.server.lock:
                answer = asked[self.path]()
            self._send_json(answer)
        else:
            raise RefusedError(404, f"there is no {self.path}")

    def _post(self) -> None:
        explorer = self.server.explorer
        asked = {"/api/decode": explorer.decode, "/api/encode": explorer.encode, "/api/image": explorer.image}
        if self.path not in asked and self.path != "/api/sample":
            raise RefusedError(404, f"there is no {self.path} to post to")
        request = self._request()
        if self.path == "/api/sample":
            self._stream(request)
            return
        with self.server.lock:
            answer = asked[self.path](request)
        self._send_json(answer)

    def _request(self) -> dict[str, Any]:
        """Read the JSON object of a request."""
        kind = self.headers.get_content_type()
        if kind != "application/json":
            raise RefusedError(415, f"a request must be application/json, got {kind}")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise RefusedError(411, f"a request must say its Content-Length, got {length!r}")
        if int(length[:12]) > MOST_BYTES:
            raise RefusedError(413, f"a request must have at most {MOST_BYTES} bytes, got {length[:12]}")
        body = self.rfile.read(int(length))
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("a request must be JSON") from None
        if not isinstance(request, dict):
            raise ValueError(f"a request must be a JSON object, got a {type(request).__name__}")
        return request

    def _stream(self, request: dict[str, Any]) -> None:
        """Send a line for each code of a sample. A slow reader keeps neither the model nor other clients waiting."""
        lines: SimpleQueue[Any] = SimpleQueue()

        def draw() -> None:
            end: Any = None
            try:
                with self.server.lock:
                    self.server.explorer.sample(request, lines.put)
            except WRONG as error:
                end = error
            lines.put(end)

        Thread(target=draw, daemon=True).start()
        line = lines.get()
        if isinstance(line, Exception):
            raise line
        self.close_connection = True  # the end of the answer is the end of the connection
        self._send(200, "application/x-ndjson", None)
        while isinstance(line, dict):
            self.wfile.write(json.dumps(line).encode() + b"\n")
            line = lines.get()

    # ---- answers ----

    def _send_json(self, answer: dict[str, Any]) -> None:
        self._send(200, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes | None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **HEADERS}.items():
            self.send_header(name, value)
        if body is None or self.close_connection:
            self.send_header("Connection", "close")
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body or b"")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with one line; also what http.server itself refuses. The body that may follow is not read."""
        self.close_connection = True
        text = " ".join((message or self.responses.get(code, ("error",))[0]).split())
        self._send(code, "text/plain; charset=utf-8", f"{text}\n".encode(errors="replace"))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
