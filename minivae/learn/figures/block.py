"""One block of a tiled product, traced: which thread loads what in which round, by the GPU of lesson 9."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minivae.learn.gpu import Access, Memory, Thread, launch

from .sheet import BLUE, FAINT, GREEN, ORANGE, PAPER, PURPLE, SMALL, Sheet

SIZE = (6.4, 4.35)
N, TILE = 4, 2
BLOCK = 1  # the one that is shown: tile row 0, tile column 1
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)  # of its threads


def tiled(t: Thread, A: Memory, B: Memory, C: Memory, rounds: int) -> Iterator[None]:
    """The kernel of lesson 9 on tiles of 2 x 2; it stops after so many rounds, to show what it has by then."""
    tile_i, tile_j = divmod(t.block, N // TILE)
    i, j = divmod(t.thread, TILE)
    row, column = tile_i * TILE + i, tile_j * TILE + j
    a, b = t.shared("a", TILE * TILE), t.shared("b", TILE * TILE)
    total = np.float32(0)
    for k in range(0, rounds * TILE, TILE):
        a[i * TILE + j] = A[row * N + k + j]
        b[i * TILE + j] = B[(k + i) * N + column]
        yield  # a barrier: the tiles are whole
        for p in range(TILE):
            total += a[i * TILE + p] * b[p * TILE + j]
        yield  # all have read them
    C[row * N + column] = total


def find() -> dict[str, Any]:
    """The matrices; and for each round what each thread of the block loads from A and B, and its sum afterwards."""
    A, B = (np.arange(16, dtype=np.float32).reshape(N, N) % 5 + k for k in (1, 0))
    rounds = []
    for number in range(1, N // TILE + 1):
        C = np.zeros_like(A)
        trace: list[Access] = []
        launch(tiled, (N // TILE) ** 2, TILE * TILE, A, B, C, number, trace=trace)
        mine = [access for access in trace if access.block == BLOCK]
        last = mine[0].barriers + 2 * (number - 1)  # barriers before this round
        loads = [[_loaded(mine, last, thread, f"argument {k}") for k in (0, 1)] for thread in range(TILE * TILE)]
        stores = [next(a.number for a in mine if (a.thread, a.memory) == (t, "argument 2")) for t in range(TILE * TILE)]
        rounds.append({"loads": loads, "stores": stores, "sums": [int(C.flat[index]) for index in stores]})
    return {"A": A.astype(int).tolist(), "B": B.astype(int).tolist(), "C": C.astype(int).tolist(), "rounds": rounds}


def _loaded(trace: list[Access], barriers: int, thread: int, memory: str) -> int:
    """The number of an array that a thread loads after so many barriers."""
    (index,) = (a.number for a in trace if (a.thread, a.memory, a.barriers) == (thread, memory, barriers))
    return index


def draw(sheet: Sheet, found: dict[str, Any]) -> None:
    """A row for each round: A, B and C with the thread that loads or owns each number, and what thread 1 computes."""
    for r, moment in enumerate(found["rounds"]):
        top = 3.75 - 1.8 * r
        sheet.text((0.15, top + 0.4), f"round {r + 1}", SMALL + 1, weight="bold")
        owners = ({load[k]: t for t, load in enumerate(moment["loads"])} for k in (0, 1))
        stored = {index: t for t, index in enumerate(moment["stores"])}
        for k, (name, owner) in enumerate(zip("AB", owners, strict=True)):
            sheet.text((0.75 + 1.5 * k, top + 0.15), name, align="center")
            sheet.grid((0.15 + 1.5 * k, top), found[name], _fills(owner))
        shown = [["" for _ in range(N)] for _ in range(N)]
        for index, t in stored.items():
            shown[index // N][index % N] = f"{moment['sums'][t]}"
        sheet.text((3.75, top + 0.15), "C so far", align="center")
        sheet.grid((3.15, top), shown, _fills(stored))
        sheet.text((4.5, top - 0.6), _told(found, r), SMALL)
    for t, colour in enumerate(COLOURS):
        sheet.box((0.15 + 0.95 * t, 0.2), (0.2, 0.2), "", colour)
        sheet.text((0.42 + 0.95 * t, 0.3), f"thread {t}", SMALL)
    sheet.text((4.1, 0.3), "block 1 of 4: rows 0, 1 and columns 2, 3", SMALL - 0.5, FAINT)


def _fills(owner: dict[int, int]) -> Any:
    return lambda i, j: COLOURS[owner[i * N + j]] if i * N + j in owner else PAPER


def _told(found: dict[str, Any], r: int) -> str:
    """What thread 1 does in round r, with numbers."""
    moment, thread = found["rounds"][r], 1
    a, b = moment["loads"][thread]
    row, column = divmod(moment["stores"][thread], N)
    ks = range(r * TILE, (r + 1) * TILE)
    before = f"{found['rounds'][r - 1]['sums'][thread]} + " if r else ""
    products = " + ".join(f"{found['A'][row][k]} * {found['B'][k][column]}" for k in ks)
    return (
        f"Thread {thread} loads A[{a // N}, {a % N}] = {found['A'][a // N][a % N]}\n"
        f"and B[{b // N}, {b % N}] = {found['B'][b // N][b % N]},\n"
        f"waits at the barrier, and adds\n{before}{products}\n= {moment['sums'][thread]} for C[{row}, {column}]"
    )
