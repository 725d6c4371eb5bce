"""Work shared among threads: the same results, in the same order, and BLAS as it was before."""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from children import in_a_child, needs_fork

from minivae.kernels import cpu
from minivae.kernels.cpu import threads
from minivae.kernels.geometry import conv2d_geometry

pytestmark = pytest.mark.skipif(threads._blas_threads() is None, reason="NumPy's BLAS cannot be told its threads")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three threads share whatever there is, however small."""
    monkeypatch.setattr(threads, "LEAST", 0)
    with threads.use_threads(3) as count:
        assert count == 3
        yield


def integers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def everything() -> list[np.ndarray]:
    """What the kernels that share their work compute, on integers: exact, in whatever order it is added."""
    g = conv2d_geometry((7, 4, 9, 8), (6, 2, 3, 3), 2, 1, 1, 2)
    x, w, dy = integers(*g.x_shape), integers(*g.w_shape, seed=1), integers(*g.y_shape, seed=2)
    lists = [[np.abs(integers(5, 3, seed=k)), np.abs(integers(70_000, seed=k))] for k in range(4)]
    lists[1].append(np.abs(integers(300, 400)).T)  # a gradient of another memory layout than its parameter
    for numbers in (lists[0], *lists[2:]):
        numbers.append(np.abs(integers(400, 300)))
    cpu.adam_step(*lists, 3, 0.5, (0.5, 0.5), 1e-8, 0.25, True)
    moving = [[integers(5, 3, seed=k), integers(70_000, seed=k)] for k in range(3)]
    cpu.sgd_step(*moving, 0.5, 0.5, 0.25, True)
    return [
        *(cpu.conv2d(x, w, integers(6), g), cpu.conv2d_input_grad(dy, w, integers(4), g)),
        *(cpu.conv2d_weight_grad(dy, x, g), cpu.conv2d_input_grad(dy, w, integers(4), g, relu=True)),
        *(cpu.matmul(integers(11, 5), integers(5, 7)), cpu.matmul(integers(5, 11).T, integers(5, 7))),
        *(cpu.nearest_code(integers(50, 6), integers(9, 6, seed=1)), cpu.conv2d(x, w, integers(6), g, relu=True)),
        *(cpu.matmul(integers(2, 5), integers(5, 7)), cpu.matmul(integers(3, 4, 5), integers(5, 7))),
        *(array for arrays in (*lists, *moving) for array in arrays),
    ]


def test_shared_work_gives_what_work_alone_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = everything()
    monkeypatch.setattr(threads, "LEAST", 0)
    with threads.use_threads(3):
        shared = everything()
    for mine, theirs in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.usefixtures("three")
def test_parts_cover_the_work_and_results_come_in_order() -> None:
    for count in range(9):
        parts = threads.share(count, 1, lambda part: (part.start, part.stop))
        assert [i for part in parts for i in range(*part)] == list(range(count))
        assert len(parts) == max(1, min(3, count))


@pytest.mark.usefixtures("three")
def test_every_part_has_a_thread_of_its_own() -> None:
    meet = threading.Barrier(3)  # broken, unless three threads arrive

    def work(part: slice) -> int:
        meet.wait(timeout=30)
        return threading.get_ident()

    assert len(set(threads.share(3, 1, work))) == 3


@pytest.mark.parametrize("looks", [1, 1 << 24])
def test_threads_that_sleep_and_threads_that_wait_awake_are_found(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOKS", looks)
    with threads.use_threads(3):
        for turn in range(300):
            sleep(1e-3 * (turn % 3 == 0))
            assert threads.share(3, 1e6, lambda part: part.start) == [0, 1, 2]


@pytest.mark.usefixtures("three")
def test_nothing_is_left_at_work_when_an_error_arrives() -> None:
    finished = []

    def work(part: slice) -> None:
        if part.start == 0:
            raise ValueError("in the first thread")
        sleep(0.05)
        finished.append(part.start)

    with pytest.raises(ValueError, match="in the first thread"):
        threads.share(3, 1, work)
    assert sorted(finished) == [1, 2]


@pytest.mark.usefixtures("three")
def test_errors_arrive() -> None:
    def work(part: slice) -> None:
        if part.start:
            raise ValueError("in another thread")

    with pytest.raises(ValueError, match="in another thread"):
        threads.share(3, 1, work)


@pytest.mark.usefixtures("three")
def test_what_was_shared_is_let_go_of() -> None:
    """A worker that waits for its next task holds nothing of the last one."""
    array = np.zeros(1000)
    gone = weakref.ref(array)
    threads.share(3, 1, lambda part, array=array: None)
    del array
    deadline = monotonic() + 10
    while gone() is not None and monotonic() < deadline:
        sleep(0.001)
    assert gone() is None


def test_little_work_stays_in_one_thread() -> None:
    with threads.use_threads(2):
        assert len(threads.share(100, threads.LEAST - 1, lambda part: part)) == 1
        assert len(threads.share(100, threads.LEAST, lambda part: part)) == 2


def test_blas_has_its_threads_back() -> None:
    get, _ = threads._blas_threads()
    before = get()
    with threads.use_threads(2):
        assert get() == 1
        with threads.use_threads(5) as count:  # inside of another: nothing changes
            assert count == 2
        assert get() == 1
    assert get() == before
    with pytest.raises(KeyError), threads.use_threads(2):
        raise KeyError
    assert get() == before


def test_the_last_user_ends_the_threads() -> None:
    """The first one to enter may leave first; nobody is left waiting for workers that have gone home."""
    entered, left = threading.Event(), threading.Event()
    found = []

    def second() -> None:
        with threads.use_threads(2) as count:
            entered.set()
            left.wait(timeout=30)
            found.append((count, threads.share(2, 1e6, lambda part: part.start)))

    thread = threading.Thread(target=second)
    with threads.use_threads(2):
        thread.start()
        assert entered.wait(timeout=30)
    left.set()
    thread.join(timeout=30)
    assert found == [(2, [0, 1])]
    assert threads._team is None


@pytest.mark.usefixtures("three")
def test_shared_work_may_share() -> None:
    inner = threads.share(3, 1e6, lambda part: threads.share(5, 1e6, lambda each: range(10)[each]))
    assert [[i for each in parts for i in each] for parts in inner] == 3 * [[0, 1, 2, 3, 4]]


def test_threads_outside_work_alone() -> None:
    found = []
    with threads.use_threads(2):
        thread = threading.Thread(target=lambda: found.extend(threads.share(2, 1e6, lambda part: part.start)))
        thread.start()
        thread.join()
    assert found == [0]


def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_NUM_THREADS", "2")
    with threads.use_threads() as count:
        assert count == 2
    monkeypatch.setenv("MINIVAE_NUM_THREADS", "1")
    with threads.use_threads() as count:
        assert count == 1
    for text in ("0", "many", "-1", "1.5"):
        monkeypatch.setenv("MINIVAE_NUM_THREADS", text)
        with pytest.raises(ValueError, match="MINIVAE_NUM_THREADS must be a number of threads"), threads.use_threads():
            pass


def shared() -> tuple[int, int, list[int]]:
    """How many threads there are and BLAS has, and what they make of three parts of work."""
    with threads.use_threads(3) as count:
        return count, threads._blas_threads()[0](), threads.share(3, 1e6, lambda part: part.start)


@needs_fork
def test_a_child_of_a_thread_that_shares_works_alone_or_with_threads_of_its_own() -> None:
    get, _ = threads._blas_threads()
    before = get()

    def child() -> Any:
        alone = threads.share(3, 1e6, lambda part: (part.start, part.stop))
        return alone, get(), shared(), get()

    with threads.use_threads(3):
        assert threads.share(3, 1e6, lambda part: part.start) == [0, 1, 2]
        assert in_a_child(child) == ([(0, 3)], before, (3, 1, [0, 1, 2]), before)
        assert threads.share(3, 1e6, lambda part: part.start) == [0, 1, 2]  # the parent has lost nothing
    assert get() == before


@needs_fork
def test_a_child_leaves_what_its_parent_entered() -> None:
    get, _ = threads._blas_threads()
    before = get()

    def child() -> Any:
        leave.close()
        return shared(), get(), threads._team is None

    with ExitStack() as leave:
        leave.enter_context(threads.use_threads(2))
        assert in_a_child(child) == ((3, 1, [0, 1, 2]), before, True)
        assert threads.share(2, 1e6, lambda part: part.start) == [0, 1]


@needs_fork
def test_children_of_a_process_whose_other_threads_come_and_go() -> None:
    """A fork meets them anywhere: with the lock, while a team is made, at work, while it is disbanded."""
    before, stop = threads._blas_threads()[0](), threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            shared()

    others = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(40):
            assert in_a_child(lambda: (shared(), threads._blas_threads()[0]())) == ((3, 1, [0, 1, 2]), before)
    finally:
        stop.set()
        for thread in others:
            thread.join(timeout=30)
