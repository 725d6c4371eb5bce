"""session(): what each backend makes of a training step."""

from __future__ import annotations

from importlib import import_module

import pytest

from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.settings import settings
from minivae.kernels.cuda.steps import CapturedStep
from minivae.kernels.session import Session

BACKENDS = ["reference", "native", "cuda"]


def step(*batch: object) -> tuple[object, ...]:
    return batch


@pytest.mark.parametrize("name", BACKENDS)
def test_a_session_is_a_context_manager_that_gives_itself(name: str) -> None:
    offered = import_module(f"minivae.kernels.{name}").session()
    with offered as session:
        assert session is offered
        assert isinstance(session, Session)
    with pytest.raises(KeyError), offered:  # an error inside of it goes on
        raise KeyError


@pytest.mark.parametrize("name", ["reference", "native"])
def test_on_the_cpu_the_step_is_called_as_it_is(name: str) -> None:
    session = import_module(f"minivae.kernels.{name}").session()
    assert session.prepare(step, None) is step
    assert session.lag == 1


def test_on_a_gpu_it_is_captured_unless_the_user_wants_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is asked for before the first step."""
    monkeypatch.setattr(launcher, "engine", None)
    session = import_module("minivae.kernels.cuda").session()
    assert session.lag > 1
    assert isinstance(session.prepare(step, None), CapturedStep)
    monkeypatch.setattr(settings, "_capture_steps", False)
    assert session.prepare(step, None) is step
