"""A real browser for the tests of pages: playwright and a Chromium of this machine; skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a headless browser, playwright's Browser, and close it."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # whom chromium refuses a sandbox
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if root else [])
        yield opened
        opened.close()
