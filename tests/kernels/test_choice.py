"""Which backend NumPy arrays belong to, and the reason that `minivae info` prints."""

from __future__ import annotations

import pytest

from minivae import kernels
from minivae.kernels import native, reference
from minivae.kernels.native import library


@pytest.fixture(autouse=True)
def nobody_has_asked_yet(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_chosen", None)
    monkeypatch.delenv("MINIVAE_CPU", raising=False)


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "why_not", lambda: "there is no C compiler")


def test_native_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "why_not", lambda: None)
    assert kernels.backend("cpu") is native
    assert kernels.cpu_choice()[1:] == ("native", "the C kernels are compiled for this CPU")


def test_reference_is_used_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    assert kernels.backend("cpu") is reference
    assert kernels.cpu_choice()[1:] == ("reference", "the C kernels are not available: there is no C compiler")


def test_choosing_the_reference_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "reference")
    monkeypatch.setattr(library, "why_not", lambda: pytest.fail("the C kernels were asked for"))
    assert kernels.backend("cpu") is reference
    assert kernels.cpu_choice()[1:] == ("reference", "it was asked for")


def test_choosing_native_without_a_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "native")
    without_compiler(monkeypatch)
    with pytest.raises(RuntimeError, match="asked for but are not available: there is no C compiler"):
        kernels.backend("cpu")


def test_an_unknown_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "numpy")
    with pytest.raises(ValueError, match="MINIVAE_CPU must be 'reference' or 'native', got 'numpy'"):
        kernels.backend("cpu")


def test_the_choice_is_made_once_and_use_cpu_changes_it_for_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "reference")
    first = kernels.cpu_choice()
    monkeypatch.setenv("MINIVAE_CPU", "numpy")
    assert kernels.cpu_choice() is first
    with kernels.use_cpu("native") as inside:
        assert kernels.backend("cpu") is inside is native
    assert kernels.backend("cpu") is reference
