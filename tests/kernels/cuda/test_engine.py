"""The memory of captured graphs in the engine for CuPy: a graph uses memory that Python has already freed."""

from __future__ import annotations

import gc
import threading
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from fake_cupy import FakeCuPy, install

from minivae.kernels.cuda.engine import CupyEngine


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCuPy:
    fake = FakeCuPy()
    install(monkeypatch, fake)
    return fake


def captured(engine: CupyEngine, cupy: FakeCuPy, temporaries: int, kept: int = 10) -> tuple[Any, Any]:
    """The graph and the result of a step that writes to so many arrays of 100 bytes and frees them."""

    def step() -> Any:
        alive = [cupy.alloc(100) for _ in range(temporaries)]
        del alive
        return cupy.alloc(kept)

    result, graph = engine.capture(step)
    return graph, result


def test_the_memory_of_graphs_is_freed_with_them(cupy: FakeCuPy) -> None:
    engine = CupyEngine()
    for _ in range(5):  # a leak of 400 bytes in each round would exhaust the memory
        results = [captured(engine, cupy, 4), captured(engine, cupy, 3)]
        assert cupy.free < 1000 - 400
        del results
        gc.collect()
        assert cupy.free == 1000
    assert not cupy.violations


def test_graphs_share_what_python_has_freed(cupy: FakeCuPy) -> None:
    """Graphs, such as those of a full batch and of the short last one, share memory, as only one runs at a time."""
    engine = CupyEngine()
    results = [captured(engine, cupy, 4) for _ in range(10)]
    assert cupy.free == 1000 - 400 - 10 * 10
    del results[1:]
    gc.collect()
    assert cupy.free <= 1000 - 400 - 10, "the first graph lives"
    assert not cupy.violations


def test_memory_of_results_that_outlive_their_graph_is_used_again(cupy: FakeCuPy) -> None:
    engine = CupyEngine()
    graph, gradient = captured(engine, cupy, 4)
    del graph
    gc.collect()
    assert cupy.free == 1000 - 10
    del gradient
    results = captured(engine, cupy, 9)
    assert cupy.free == 1000 - 900 - 10
    del results
    gc.collect()
    assert cupy.free == 1000


def test_a_capture_that_fails_gives_everything_back(cupy: FakeCuPy) -> None:
    engine = CupyEngine()

    def step() -> None:
        alive = cupy.alloc(300)
        raise RuntimeError(f"asks the device while {alive} is alive")

    for _ in range(5):
        with pytest.raises(RuntimeError, match="asks the device"):
            engine.capture(step)
        assert cupy.free == 1000
        assert not engine.capturing


def test_running_out_of_memory_in_a_capture_is_an_error_and_frees_nothing(cupy: FakeCuPy) -> None:
    """CuPy's pool would free blocks that captured kernels still use, because Python does not use them, and continue."""
    engine = CupyEngine()

    def step() -> None:
        alive = [cupy.alloc(200) for _ in range(3)]
        del alive
        cupy.alloc(600)

    with pytest.raises(MemoryError, match="600 bytes asked for, 400 of 1,000 free"):
        engine.capture(step)
    assert not cupy.violations
    assert cupy.free == 1000


def test_a_capture_has_the_memory_that_the_eager_step_has_freed(cupy: FakeCuPy) -> None:
    engine = CupyEngine()
    eager = [cupy.alloc(300) for _ in range(3)]
    del eager
    assert cupy.free == 100
    captured(engine, cupy, 9)
    assert not cupy.violations


def test_tables_lie_where_no_captured_kernel_writes(cupy: FakeCuPy) -> None:
    """Tables are copied once, after the capture; at a replay no earlier kernel may overwrite them."""
    engine = CupyEngine()

    def step() -> Any:
        cupy.alloc(16)  # is freed at once
        return engine.upload(np.zeros(2))

    kept = engine.capture(step)
    assert not cupy.violations
    del kept


def test_another_thread_works_as_this_one_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards run in threads (training/lockstep.py), and one of CuPy begins with GPU 0, the null stream, the pool."""
    cupy = FakeCuPy(devices=2)
    install(monkeypatch, cupy)
    engine, seen = CupyEngine(), dict[str, Any]()

    def state() -> Any:
        return cupy.current.device, cupy.cuda.get_current_stream(), cupy.get_allocator()

    def thread(name: str, context: Any) -> None:
        with context:
            seen[name] = state()

    def step() -> Any:
        context = engine.thread_context()
        for name, inside in {"told": context(), "not told": nullcontext()}.items():
            worker = threading.Thread(target=thread, args=(name, inside))
            worker.start()
            worker.join()
        return state()

    cupy.cuda.Device(1).use()
    result, _ = engine.capture(step)
    assert seen["told"] == result
    assert not any(a == b for a, b in zip(seen["not told"], result, strict=True))
