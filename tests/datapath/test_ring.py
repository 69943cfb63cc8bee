"""The ring and its writer: whole lines in order, and nobody waits for whoever reads them."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lb.shell.datapath import AccessWriter, Ring
from tests.support.waiting import eventually

RING_BYTES = 1 << 22
HEAD_BYTES = 4096


@pytest.fixture
def ring() -> Iterator[Ring]:
    with closing(Ring.create()) as made:
        yield made


def line(number: int, size: int = 40) -> bytes:
    return (b"%d " % number).ljust(size - 1, b".") + b"\n"


def writer_to(ring: Ring, **where: int | str) -> AccessWriter:
    made = AccessWriter([ring], **where)  # type: ignore[arg-type]
    made.start()
    return made


# ---- The ring ----


def test_ring_gives_lines_back_in_order_across_its_wrap(ring: Ring) -> None:
    for start in range(
        0, 30_000, 100
    ):  # 300 rounds with sizes that divide nothing: some lines lie across the end
        lines = [line(number, 41 + number % 97) for number in range(start, start + 100)]
        assert all(ring.map.put(one) for one in lines)
        assert ring.map.waiting_bytes == sum(map(len, lines))
        assert ring.map.take() == b"".join(lines)


def test_ring_that_is_full_drops_whole_lines_and_takes_more_once_emptied(ring: Ring) -> None:
    put = 0
    while ring.map.put(line(put, 1000)):
        put += 1
    assert put == RING_BYTES // 1000
    assert ring.map.put(line(0, RING_BYTES - put * 1000)), "exactly what is left fits"
    assert not ring.map.put(b"\n")
    taken = ring.map.take().splitlines(keepends=True)
    assert taken[:put] == [line(number, 1000) for number in range(put)]
    assert not ring.map.put(b"x" * (RING_BYTES + 1)), "what is larger than the ring never fits"
    assert ring.map.put(b"x" * RING_BYTES)


def test_ring_between_two_threads_loses_and_tears_nothing(ring: Ring, tmp_path: Path) -> None:
    """One puts as fast as it goes, the writer takes at the same time: it wraps many times."""
    writer = writer_to(ring, path=str(tmp_path / "log"))
    put = []
    for number in range(60_000):
        if ring.map.put(line(number, 60 + number % 200)):
            put.append(line(number, 60 + number % 200))
    assert writer.stop(10)
    assert len(put) > 1000
    assert (tmp_path / "log").read_bytes() == b"".join(put)


# ---- The writer ----


def test_writer_to_a_file_appends_and_says_how_much(ring: Ring, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    writer = writer_to(ring, path=str(path))
    ring.map.put(line(1))
    eventually(lambda: path.read_bytes() == b"before\n" + line(1), within_s=5, reason="it is written")
    ring.map.put(line(2))
    assert writer.stop(5)
    assert path.read_bytes() == b"before\n" + line(1) + line(2)
    assert (writer.written_bytes, writer.waiting_bytes) == (80, 0)


def test_writer_that_ended_leaves_no_descriptor_of_its_own(ring: Ring, tmp_path: Path) -> None:
    """And it leaves the caller's alone."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        writer = writer_to(ring, path=str(tmp_path / "log"))
        assert writer.stop(5)
        del writer
    assert descriptors() == before
    out, into = os.pipe()
    assert writer_to(ring, out_fd=into).stop(5)
    os.write(into, b"open")
    os.close(out)
    os.close(into)


def test_writer_reopens_its_file_after_it_was_moved_away(ring: Ring, tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"
    writer = writer_to(ring, path=str(path))
    ring.map.put(line(1))
    eventually(lambda: path.read_bytes() == line(1), within_s=5, reason="it is written")
    path.rename(moved)
    ring.map.put(line(2))
    eventually(
        lambda: moved.read_bytes() == line(1) + line(2), within_s=5, reason="it goes on with the moved file"
    )
    writer.reopen()
    ring.map.put(line(3))
    assert writer.stop(5)
    assert (path.read_bytes(), moved.read_bytes()) == (line(3), line(1) + line(2))


@pytest.mark.parametrize("full", [False, True])
def test_writer_that_was_stopped_amid_a_line_begins_the_new_file_with_a_whole_one(
    ring: Ring, tmp_path: Path, full: bool
) -> None:
    """A file that takes no more, as on a full disk, is moved away and reopened. Meanwhile the ring may
    be full to the last byte: it then stands where the first half was."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        writer = writer_to(ring, path=str(path))
        for number in range(3):
            ring.map.put(line(number, 400))
        eventually(lambda: path.stat().st_size == 1000, within_s=5, reason="half a line is out")
        if full:
            rest = RING_BYTES - ring.map.waiting_bytes
            assert all(ring.map.put(line(7, 400)) for _ in range(rest // 400 - 1))
            assert ring.map.put(line(8, rest % 400 + 400)) and ring.map.waiting_bytes == RING_BYTES
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    path.rename(moved)
    writer.reopen()
    if full:
        eventually(lambda: not ring.map.waiting_bytes, within_s=5, reason="all is written")
    ring.map.put(line(3, 400))
    assert writer.stop(5)
    assert moved.read_bytes() == (line(0, 400) + line(1, 400) + line(2, 400))[:1000]
    numbers = [int(each.split(b" ")[0]) for each in path.read_bytes().splitlines()]
    assert numbers == ([7] * numbers.count(7) + [8] if full else []) + [3]


def test_writer_that_cannot_reopen_goes_on_with_the_former_file(ring: Ring, tmp_path: Path) -> None:
    folder, gone = tmp_path / "logs", tmp_path / "gone"
    folder.mkdir()
    writer = writer_to(ring, path=str(folder / "log"))
    folder.rename(gone)
    with pytest.raises(FileNotFoundError):
        writer.reopen()
    ring.map.put(line(1))
    assert writer.stop(5)
    assert (gone / "log").read_bytes() == line(1)


@pytest.mark.parametrize("blocking", [True, False])
def test_writer_to_a_pipe_that_nobody_reads_holds_nobody_up(ring: Ring, blocking: bool) -> None:
    out, into = os.pipe()
    os.set_blocking(into, blocking)
    writer = writer_to(ring, out_fd=into)
    start_s = time.monotonic()
    put = [line(number, 500) for number in range(10_000) if ring.map.put(line(number, 500))]
    assert len(put) < 10_000, "the ring fills, and the rest is dropped"
    assert time.monotonic() - start_s < 2, "whoever puts does not wait"
    start_s = time.monotonic()
    ended = writer.stop(0.3)
    assert time.monotonic() - start_s < 1
    if blocking:
        assert not ended, "it is stuck in write()"
    taken = bytearray()
    reading = threading.Thread(target=lambda: drain(out, taken), daemon=True)
    reading.start()
    eventually(lambda: writer.stop(0.1), within_s=5, reason="it ends once somebody reads")
    os.close(into)
    reading.join(5)
    os.close(out)
    assert b"".join(put).startswith(bytes(taken)), "in order, and nothing between"


def drain(fd: int, taken: bytearray) -> None:
    with suppress(OSError):
        while data := os.read(fd, 65_536):
            taken.extend(data)


def test_writer_to_a_full_disk_counts_faults_and_keeps_the_lines(ring: Ring) -> None:
    writer = writer_to(ring, path="/dev/full")
    ring.map.put(line(1))
    eventually(lambda: writer._writer.faults_total >= 1, within_s=5, reason="the write failed")
    assert (writer.written_bytes, writer.waiting_bytes) == (0, 40)
    assert writer.stop(5), "a disk that is full holds up no end"
    assert ring.map.take() == line(1)


def test_writer_of_several_rings_tears_no_line(tmp_path: Path) -> None:
    rings = [Ring.create() for _ in range(4)]
    writer = AccessWriter(rings, path=str(tmp_path / "log"))
    writer.start()
    put = 0
    for number in range(20_000):
        put += rings[number % 4].map.put(b"%d:" % (number % 4) + line(number, 100))
    assert writer.stop(10)
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert len(lines) == put
    for index in range(4):
        numbers = [int(one[2:].split()[0]) for one in lines if one.startswith(b"%d:" % index)]
        assert numbers == sorted(numbers)
    assert all(len(one) == 102 for one in lines)
    for one in rings:
        one.close()


def test_writer_wants_one_place_to_write_to(ring: Ring) -> None:
    with pytest.raises(ValueError, match="either"):
        AccessWriter([ring])
    with pytest.raises(ValueError, match="either"):
        AccessWriter([ring], out_fd=1, path="x")
    with pytest.raises(FileNotFoundError):
        AccessWriter([ring], path="/nowhere/at/all")


def test_ring_of_another_layout_is_refused() -> None:
    from tests.support.engine_bench import EngineBench

    ring = Ring.create()
    os.pwrite(ring.fd, b"\xff", 8)
    from lb.shell.datapath import Board, Engine

    board = Board.create(1)
    with pytest.raises(ValueError, match="ring"):
        Engine(worker=0, sessions_max=1, sessions_max_all=0, pipes_max=0, board_fd=board.fd, ring_fd=ring.fd)
    for one in (ring, board):
        one.close()
    assert EngineBench is not None
