"""A fixture of the tests of the primitives."""

from __future__ import annotations

import pytest

from minivae import kernels


@pytest.fixture
def keeps_layouts(device: str) -> None:
    """Skip a test of the memory layout of results on the reference backend, which does not guarantee one."""
    if kernels.cpu_choice().name == "reference":
        pytest.skip("the reference promises values, not memory layouts")
