"""Both sides of the contract: the page of primitives and what a backend offers."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from minivae import kernels
from minivae.kernels import contract

ARRIVALS = {"device", "xp", "asarray", "to_host"}  # what a backend has besides the primitives
NAMES = {primitive.__name__ for primitive in contract.PRIMITIVES}


def test_backend_offers_exactly_the_primitives() -> None:
    functions = {name for name, value in vars(kernels.cpu).items() if inspect.isfunction(value)}
    assert functions == NAMES | {"asarray", "to_host"}
    assert set(kernels.cpu.__all__) == NAMES | ARRIVALS


def test_the_list_of_primitives_is_the_page() -> None:
    page = {name for name, f in vars(contract).items() if inspect.isfunction(f) and f.__module__ == contract.__name__}
    assert page == NAMES
    assert len(contract.PRIMITIVES) == len(NAMES)


@pytest.mark.parametrize("primitive", contract.PRIMITIVES, ids=lambda p: p.__name__)
def test_signatures_agree(primitive) -> None:
    def shape_of(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    offered = getattr(kernels.cpu, primitive.__name__)
    assert shape_of(offered) == shape_of(primitive)
    assert (offered.__doc__ or "").strip()
    assert (primitive.__doc__ or "").strip()


@pytest.mark.parametrize("primitive", contract.PRIMITIVES, ids=lambda p: p.__name__)
def test_the_page_itself_computes_nothing(primitive) -> None:
    with pytest.raises(NotImplementedError):
        primitive(*[None] * len(inspect.signature(primitive).parameters))


def test_arrays_come_and_go_without_copies() -> None:
    array = np.ones(3)
    assert kernels.cpu.asarray(array) is array
    assert kernels.cpu.to_host(array) is array
    assert kernels.cpu.xp is np
    assert kernels.cpu.device == "cpu"


def test_backend_of_arrays() -> None:
    assert kernels.backend_of(np.ones(3), np.ones((), np.float32)) is kernels.cpu


@pytest.mark.parametrize(
    ("value", "name"), [([1.0], "list"), (1.0, "float"), (None, "NoneType"), (np.float32(1), "float32")]
)
def test_backend_of_anything_else_names_its_type(value, name) -> None:
    with pytest.raises(TypeError, match=name):
        kernels.backend_of(np.ones(2), value)


def test_backend_by_name() -> None:
    assert kernels.backend("cpu") is kernels.cpu
    with pytest.raises(ValueError, match="'tpu'"):
        kernels.backend("tpu")
