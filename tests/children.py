"""Run a test's work in a forked process."""

from __future__ import annotations

import ast
import os
import select
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


def in_a_child(work: Callable[[], Any]) -> Any:
    """The result of work() in a forked process; the test fails if work() raises an error or does not end."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn about forks with threads
        child = os.fork()
    if not child:
        try:
            os.write(writer, repr(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        if not select.select([answer], [], [], 30)[0]:
            os.kill(child, signal.SIGKILL)
        text = answer.read().decode()
    os.waitpid(child, 0)
    assert text, "the child hung or failed"
    return ast.literal_eval(text)
