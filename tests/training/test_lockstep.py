"""Shards of one process take turns: the order, the sums, and how errors end all of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from minivae.training.lockstep import Sum, in_lockstep


def total(arrays: Sequence[np.ndarray]) -> np.ndarray:
    result: np.ndarray = np.stack(arrays).sum(axis=0)
    return result


def run(*functions: Callable[[Sum], Any], total: Any = total) -> list[Any]:
    """Run in lockstep, and check that no thread is left, whatever happens."""
    before = threading.active_count()
    try:
        return in_lockstep(functions, total)
    finally:
        assert threading.active_count() == before


def test_the_shards_take_turns_from_sum_to_sum() -> None:
    seen: list[Any] = []

    def shard(number: int) -> Callable[[Sum], int]:
        def work(add_up: Sum) -> int:
            for i in range(2):
                seen.append((i, number))
                assert add_up(np.array([number, 1])).tolist() == [3, 3]
            seen.append((2, number))
            return number * 10

        return work

    assert run(*map(shard, range(3))) == [0, 10, 20]
    assert seen == [(i, number) for i in range(3) for number in range(3)]


def test_the_arrays_come_to_the_sum_in_the_order_of_the_shards() -> None:
    given: list[list[int]] = []

    def noted(arrays: Sequence[np.ndarray]) -> np.ndarray:
        given.append([int(a) for a in arrays])
        return arrays[0]

    run(*(lambda add_up, i=i: add_up(np.array(i)) for i in range(4)), total=noted)
    run(lambda add_up: add_up(np.array(7)), total=noted)
    assert given == [[0, 1, 2, 3], [7]]


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_error_in_one_shard_ends_all_and_is_raised(failing: int, after: int) -> None:
    def shard(number: int) -> Callable[[Sum], None]:
        def work(add_up: Sum) -> None:
            for i in range(3):
                if (number, i) == (failing, after):
                    raise KeyError(f"shard {number}")
                add_up(np.zeros(1))

        return work

    with pytest.raises(KeyError, match=f"shard {failing}"):
        run(*map(shard, range(3)))


def test_an_error_of_the_sum_is_raised() -> None:
    def fail(_: Any) -> Any:
        raise ZeroDivisionError("of the sum")

    with pytest.raises(ZeroDivisionError, match="of the sum"):
        run(*[lambda add_up: add_up(np.zeros(1))] * 3, total=fail)


@pytest.mark.parametrize("sums", [(0, 1), (1, 0), (2, 1), (1, 2), (1, 1, 2), (2, 1, 1), (1, 2, 1)])
def test_shards_that_ask_for_different_sums_are_refused(sums: tuple[int, ...]) -> None:
    def shard(count: int) -> Callable[[Sum], None]:
        def work(add_up: Sum) -> None:
            for _ in range(count):
                add_up(np.zeros(1))

        return work

    with pytest.raises(RuntimeError, match="all shards of a batch must ask for the same sums"):
        run(*map(shard, sums))


def test_ctrl_c_in_the_middle_ends_all_shards() -> None:
    def work(add_up: Sum) -> None:
        for i in range(1000):
            if i == 3:
                signal.raise_signal(signal.SIGINT)  # which Python answers in the main thread
            add_up(np.zeros(1))

    with pytest.raises(KeyboardInterrupt):
        run(work, work, work)
    assert run(*[lambda add_up: add_up(np.ones(1))] * 2) == [2, 2]
