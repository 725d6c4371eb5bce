"""What every backend offers: the names of the contract, with the parameters of the reference."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler

from minivae import kernels
from minivae.kernels import contract, reference
from minivae.kernels.cuda import launcher

NAMES = {name for names in contract.PRIMITIVES.values() for name in names}
ARRIVALS = {"device", "xp", "asarray", "to_host", "session"}  # what a backend has besides the primitives
needs_emulator = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.fixture(params=["reference", "native", pytest.param("cuda", marks=needs_emulator)])
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(f"minivae.kernels.{request.param}")


def test_a_backend_offers_exactly_the_primitives(backend) -> None:
    functions = {name for name, value in vars(backend).items() if inspect.isfunction(value) and name[0] != "_"}
    assert functions - {"keep_freed_memory"} == NAMES | {"asarray", "to_host", "session"}
    assert set(backend.__all__) == NAMES | ARRIVALS


@pytest.mark.parametrize("name", sorted(NAMES))
def test_signatures_are_those_of_the_reference(backend, name) -> None:
    def parameters(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    offered = getattr(backend, name)
    assert parameters(offered) == parameters(getattr(reference, name))
    assert (offered.__doc__ or "").strip()


@pytest.mark.parametrize("family", sorted(contract.PRIMITIVES))
def test_the_reference_keeps_each_family_in_a_file(family) -> None:
    file = import_module(f"minivae.kernels.reference.{family}")
    defined = {name for name, f in vars(file).items() if inspect.isfunction(f) and f.__module__ == file.__name__}
    assert set(contract.PRIMITIVES[family]) <= defined


@pytest.mark.parametrize("name", ["reference", "native"])
def test_arrays_come_and_go_without_copies(name) -> None:
    backend, array = import_module(f"minivae.kernels.{name}"), np.ones(3)
    assert backend.asarray(array) is array
    assert backend.to_host(array) is array
    assert backend.xp is np
    assert backend.device == "cpu"


@pytest.mark.parametrize("name", ["reference", "native"])
def test_numpy_arrays_belong_to_the_backend_that_was_chosen(name) -> None:
    with kernels.use_cpu(name) as chosen:
        assert chosen is import_module(f"minivae.kernels.{name}")
        assert kernels.backend("cpu") is kernels.backend_of(np.ones(3), np.ones((), np.float32)) is chosen
        assert kernels.cpu_choice().name == name


def test_arrays_of_two_devices_are_refused() -> None:
    if compiler() is None:
        pytest.skip("the CUDA emulator needs g++")
    with launcher.use_engine(Emulator(xp=arrays)), pytest.raises(TypeError, match="different devices"):
        kernels.backend_of(np.ones(3), arrays.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("value", "name"), [([1.0], "list"), (1.0, "float"), (None, "NoneType"), (np.float32(1), "float32")]
)
def test_backend_of_anything_else_names_its_type(value, name) -> None:
    with pytest.raises(TypeError, match=name):
        kernels.backend_of(np.ones(2), value)


def test_backend_by_name() -> None:
    with pytest.raises(ValueError, match="'tpu'"):
        kernels.backend("tpu")
    with pytest.raises(ValueError, match="'reference' or 'native', got 'numpy'"), kernels.use_cpu("numpy"):
        pass
