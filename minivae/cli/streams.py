"""Gives commands a stdout and a stderr with which they do not end when nobody reads what they print."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class Stream:
    """A text stream that drops what cannot be written, from the first failure on, and keeps that failure in `error`.

    A pipe whose reader has gone (`| head -1`) or a full disk thus stops the output and not the command.
    """

    def __init__(self, stream: TextIO | None) -> None:
        if stream is None:  # closed by the shell
            stream = open(os.devnull, "w")  # noqa: SIM115
        self.stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, function: Callable[..., Any], *args: Any) -> None:
        if self.error is None:
            try:
                function(*args)
            except OSError as error:
                self.error = error
                self._drain()

    def _drain(self) -> None:
        """Let what is still in the buffer go nowhere, so that Python's own flush at the end does not fail."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.stream.fileno())
        os.close(null)

    @property
    def failure(self) -> OSError | None:
        """Return the error, unless it only says that the reader has gone."""
        gone = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)
        return None if self.error is None or self.error.errno in gone else self.error
