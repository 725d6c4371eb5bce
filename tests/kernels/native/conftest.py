"""The tests of the C kernels are skipped if there is no C compiler that can build them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivae.kernels.native import library

WITHOUT_LIBRARY = {"test_build.py", "test_signature.py"}


@pytest.fixture(autouse=True)
def compiled(request: pytest.FixtureRequest) -> None:
    """Skip the test, with the reason, if there are no C kernels."""
    if Path(request.path).name not in WITHOUT_LIBRARY and library.why_not() is not None:
        pytest.skip(str(library.why_not()))
