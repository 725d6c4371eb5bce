"""Which backend NumPy arrays belong to, and what is said about it."""

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


def test_native_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "why_not", lambda: None)
    assert kernels.backend("cpu") is native
    assert kernels.cpu_choice()[1:] == ("native", "the C kernels are compiled for this CPU")


def test_reference_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    assert kernels.backend("cpu") is reference
    assert kernels.cpu_choice()[1:] == ("reference", "the C kernels are not available: there is no C compiler")


def test_reference_by_hand_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "reference")
    monkeypatch.setattr(library, "why_not", lambda: pytest.fail("the C kernels were asked for"))
    assert kernels.backend("cpu") is reference
    assert kernels.cpu_choice()[1:] == ("reference", "it was asked for")


def test_native_by_hand_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "native")
    without_compiler(monkeypatch)
    with pytest.raises(RuntimeError, match="asked for but are not available: there is no C compiler"):
        kernels.backend("cpu")


def test_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "numpy")
    with pytest.raises(ValueError, match="MINIVAE_CPU must be 'reference' or 'native', got 'numpy'"):
        kernels.backend("cpu")


def test_it_is_chosen_once_and_changed_inside_of_use_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "reference")
    first = kernels.cpu_choice()
    monkeypatch.setenv("MINIVAE_CPU", "numpy")
    assert kernels.cpu_choice() is first
    with kernels.use_cpu("native") as inside:
        assert kernels.backend("cpu") is inside is native
    assert kernels.backend("cpu") is reference
