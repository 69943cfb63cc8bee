"""A scoreboard of two numbers per worker, and a ring of nothing, for a crew of fake workers."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

LINE = "=QQ"  # heartbeat_ns, sessions_open
LINE_BYTES = struct.calcsize(LINE)


@dataclass(frozen=True)
class FakeCounts:
    heartbeat_ns: int
    sessions_open: int


class FakeBoard:
    def __init__(self, workers: int) -> None:
        self.fd = os.memfd_create("board")
        os.ftruncate(self.fd, LINE_BYTES * workers)
        self._map = mmap.mmap(self.fd, 0)
        self.forgotten: list[int] = []

    def worker(self, index: int) -> FakeCounts:
        return FakeCounts(*struct.unpack_from(LINE, self._map, index * LINE_BYTES))

    def forget_worker(self, index: int) -> None:
        self.forgotten.append(index)
        heartbeat_ns = self.worker(index).heartbeat_ns
        struct.pack_into(LINE, self._map, index * LINE_BYTES, heartbeat_ns, 0)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)


class FakeRing:
    def __init__(self) -> None:
        self.fd = os.memfd_create("ring")

    def close(self) -> None:
        os.close(self.fd)
