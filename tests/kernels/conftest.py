"""What the tests of the primitives share."""

from __future__ import annotations

import pytest

from minivae import kernels


@pytest.fixture
def keeps_layouts(device: str) -> None:
    """For tests of the memory layout of results, about which the reference promises nothing."""
    if kernels.cpu_choice().name == "reference":
        pytest.skip("the reference promises values, not memory layouts")
