"""A fake of CuPy's module for NCCL, with the functions of that module that the project uses, for the emulated GPU.

It reads and writes the emulator's memory by address, as NCCL does that of a GPU, and is recorded in a capture. What
carries the bytes between the ranks is given: all_to_all(messages) sends messages[i] to rank i and returns what the
ranks have sent to this one. It raises where NCCL would hang or write beyond the end: for messages that do not fit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from cuda_emulator import Emulator, arrays

AllToAll = Callable[[list[bytes]], list[bytes]]
Receive = tuple[int, int, int]  # from which rank, address, bytes


class FakeNccl:
    """The module as one rank sees it. calls: the messages so far, by the function that sent them."""

    NCCL_UINT8 = 1
    available = True

    def __init__(self, all_to_all: AllToAll) -> None:
        self._all_to_all, self._group = all_to_all, list[tuple[str, int, int, int]]()
        self._size = 0
        self.calls: list[str] = []

    def get_unique_id(self) -> bytes:
        return bytes(range(128))

    def NcclCommunicator(self, ndev: int, commId: bytes, rank: int) -> FakeNccl:  # noqa: N802
        assert commId == self.get_unique_id()
        self._size, self._rank = ndev, rank
        return self

    def groupStart(self) -> None:  # noqa: N802
        self._group = []

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._group.append(("send", peer, sendbuf, self._bytes(count, datatype)))

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._group.append(("recv", peer, recvbuf, self._bytes(count, datatype)))

    def groupEnd(self) -> None:  # noqa: N802
        sends = {peer: (address, count) for kind, peer, address, count in self._group if kind == "send"}
        receives = [(peer, address, count) for kind, peer, address, count in self._group if kind == "recv"]
        self.calls.append("group")
        arrays.do(lambda: self._carry(sends, receives))

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:  # noqa: N802
        count = self._bytes(count, datatype)
        sends = dict.fromkeys(range(self._size), (sendbuf, count))
        receives = [(rank, recvbuf + rank * count, count) for rank in range(self._size)]
        self.calls.append("allGather")
        arrays.do(lambda: self._carry(sends, receives))

    def _bytes(self, count: int, datatype: int) -> int:
        assert datatype == self.NCCL_UINT8
        assert count > 0
        return count

    def _carry(self, sends: dict[int, tuple[int, int]], receives: list[Receive]) -> None:
        """Send the bytes at (address, count) to each rank of `sends`, and write what comes."""
        messages = [ctypes.string_at(*sends[rank]) if rank in sends else b"" for rank in range(self._size)]
        arrived = dict(enumerate(self._all_to_all(messages)))
        for rank, address, count in receives:
            message = arrived.pop(rank)
            if len(message) != count:
                raise RuntimeError(f"rank {rank} sends {len(message)} bytes, rank {self._rank} wants {count}")
            ctypes.memmove(address, message, count)
        if any(arrived.values()):
            raise RuntimeError(f"rank {self._rank} does not want what ranks {list(arrived)} send")


class RankEmulator(Emulator):
    """The emulator with NCCL and a GPU of its own for each rank."""

    def __init__(self, number: int, nccl: FakeNccl) -> None:
        super().__init__(xp=arrays)
        self._number, self._nccl = number, nccl

    def gpu(self) -> str:
        return f"emulated GPU {self._number}"

    def nccl(self) -> Any:
        return self._nccl
