"""Tests of the C kernels run where there is a C compiler that can build them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivae.kernels import native

WITHOUT_LIBRARY = {"test_build.py", "test_signature.py"}


@pytest.fixture(autouse=True)
def library(request: pytest.FixtureRequest) -> None:
    """Skips the test, with the reason, on a machine that has no C kernels."""
    if Path(request.path).name not in WITHOUT_LIBRARY and native.why_not() is not None:
        pytest.skip(str(native.why_not()))
