"""Which backend computes on NumPy arrays, and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minivae.kernels import choice, native, reference


@pytest.fixture(autouse=True)
def ask_again() -> Iterator[None]:
    choice._choice.cache_clear()
    yield
    choice._choice.cache_clear()


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "why_not", lambda: "there is no C compiler")


def test_native_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIVAE_CPU", raising=False)
    monkeypatch.setattr(native, "why_not", lambda: None)
    assert choice.cpu_backend() is native
    assert choice.why().startswith("native, ")


def test_reference_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIVAE_CPU", raising=False)
    without_compiler(monkeypatch)
    assert choice.cpu_backend() is reference
    assert choice.why() == "reference, because there is no C compiler"


def test_reference_by_hand_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "reference")
    monkeypatch.setattr(native, "why_not", lambda: pytest.fail("the C kernels were asked for"))
    assert choice.cpu_backend() is reference
    assert choice.why() == "reference, because MINIVAE_CPU=reference says so"


def test_native_by_hand_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "native")
    without_compiler(monkeypatch)
    with pytest.raises(RuntimeError, match="MINIVAE_CPU=native, but there is no C compiler"):
        choice.cpu_backend()


def test_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_CPU", "numpy")
    with pytest.raises(ValueError, match="MINIVAE_CPU must be 'reference' or 'native', got 'numpy'"):
        choice.cpu_backend()
