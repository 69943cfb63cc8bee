"""The channel: whole messages in order, descriptors with them, and a peer that does not read or is gone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.shell.control import (
    FDS_PER_MESSAGE_MAX,
    MESSAGE_BYTES_MAX,
    QUEUE_MESSAGES_MAX,
    Channel,
    ChannelClosed,
    Message,
    close_all,
)
from tests.support.async_waiting import until
from tests.support.open_fds import open_fds

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = tuple(map(Channel, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
    yield both[0], both[1]
    for end in both:
        end.close()


def fill(channel: Channel) -> int:
    """Send until one message is queued. Returns how many were sent in all."""
    sent = 0
    while not channel._queue:
        channel.send({"type": "filler", "number": sent})
        sent += 1
    return sent


# ---- Messages ----


def test_channel_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    here, there = ends
    for number in range(100):
        here.send({"type": "count", "number": number})
    received = there.receive()
    assert [message["number"] for message, _ in received] == list(range(100))
    assert there.receive() == []


def test_channel_largest_message_goes_through(ends: Ends) -> None:
    here, there = ends
    message = {"type": "large", "text": ""}
    message["text"] = "x" * (MESSAGE_BYTES_MAX - len(json.dumps(message, separators=(",", ":"))))
    here.send(message)
    assert there.receive() == [(message, [])]


def test_channel_too_large_message_is_the_callers_mistake(ends: Ends) -> None:
    with pytest.raises(ValueError, match="too large"):
        ends[0].send({"type": "large", "text": "x" * MESSAGE_BYTES_MAX})


# ---- Descriptors ----


def test_channel_descriptors_arrive_with_their_message(ends: Ends) -> None:
    here, there = ends
    read, write = os.pipe()
    here.send({"type": "none"})
    here.send({"type": "two"}, [read, write])
    close_all([read, write])
    (_, none), (_, (read, write)) = there.receive()
    assert none == []
    os.write(write, b"through")
    assert os.read(read, 100) == b"through"
    close_all([read, write])


def test_channel_received_descriptors_are_closed_on_exec(ends: Ends) -> None:
    """The trap: a program that a worker or the supervisor starts would keep the port open."""
    here, there = ends
    fd = os.dup(0)
    os.set_inheritable(fd, True)
    here.send({"type": "one"}, [fd])
    [(_, received)] = there.receive()
    assert not os.get_inheritable(received[0])
    close_all([fd, *received])


def test_channel_most_descriptors_of_one_message_go_through(ends: Ends) -> None:
    here, there = ends
    here.send({"type": "many"}, [0] * FDS_PER_MESSAGE_MAX)
    [(_, received)] = there.receive()
    assert len(received) == FDS_PER_MESSAGE_MAX
    close_all(received)
    with pytest.raises(ValueError, match="too large"):
        here.send({"type": "more"}, [0] * (FDS_PER_MESSAGE_MAX + 1))


def test_channel_queued_message_outlives_the_senders_descriptor(ends: Ends) -> None:
    """The trap: a memfd is closed right after sending, and the queue would send another file's number."""
    here, there = ends
    sent = fill(here)
    fd = os.memfd_create("queued")
    here.send({"type": "last"}, [fd])
    os.close(fd)
    received: list[tuple[Message, list[int]]] = []
    while len(received) <= sent:
        received += there.receive()
        here._writable()
    message, fds = received[-1]
    assert message == {"type": "last"}
    assert "queued" in str(Path(f"/proc/self/fd/{fds[0]}").readlink())
    close_all(fds)


def test_channel_closed_leaves_no_descriptor_of_its_queue() -> None:
    before = open_fds()
    here, there = map(Channel, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    fill(here)
    here.send({"type": "one"}, [0])
    here.close()
    here.close()
    there.close()
    assert open_fds() == before


# ---- A peer that is slow, gone, or talks nonsense ----


def test_channel_peer_that_does_not_read_is_given_up_when_the_queue_is_full(ends: Ends) -> None:
    here, _ = ends
    fill(here)
    for _ in range(QUEUE_MESSAGES_MAX - 1):
        here.send({"type": "queued"})
    with pytest.raises(ChannelClosed, match="unread"):
        here.send({"type": "one too many"})


def test_channel_peer_gone_what_it_sent_is_read_first(ends: Ends) -> None:
    here, there = ends
    here.send({"type": "last words"})
    here.close()
    assert there.receive() == [({"type": "last words"}, [])]
    with pytest.raises(ChannelClosed):
        there.receive()
    with pytest.raises(ChannelClosed):
        there.send({"type": "anybody?"})


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"no": "type"}', b"\xff"])
def test_channel_nonsense_closes_it_and_keeps_no_descriptor(data: bytes) -> None:
    before = open_fds()
    sock, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(other)
    socket.send_fds(sock, [data], [0])
    with pytest.raises(ChannelClosed, match="cannot read"):
        channel.receive()
    channel.close()
    sock.close()
    assert open_fds() == before


# ---- In a loop ----


class Heard:
    def __init__(self, channel: Channel) -> None:
        self.messages: list[Message] = []
        self.closed = 0
        channel.attach(asyncio.get_running_loop(), self.hear, self.lost)

    def hear(self, message: Message, fds: list[int]) -> None:
        close_all(fds)
        self.messages.append(message)

    def lost(self) -> None:
        self.closed += 1


async def test_channel_in_a_loop_everything_arrives_whatever_was_queued(ends: Ends) -> None:
    here, there = ends
    sent = fill(here)
    Heard(here)
    for number in range(QUEUE_MESSAGES_MAX - 1):
        here.send({"type": "queued", "number": number}, [0])
    heard = Heard(there)
    await until(lambda: len(heard.messages) == sent + QUEUE_MESSAGES_MAX - 1, "all messages arrived")
    assert heard.messages[-1]["number"] == QUEUE_MESSAGES_MAX - 2


async def test_channel_in_a_loop_its_end_is_told_once_and_last(ends: Ends) -> None:
    here, there = ends
    heard = Heard(there)
    here.send({"type": "last words"})
    here.close()
    await until(lambda: heard.closed, "the end was told")
    assert heard.messages == [{"type": "last words"}]
    assert there.fileno() == -1
    assert heard.closed == 1


async def test_channel_closed_by_the_handler_of_a_message_hears_no_more(ends: Ends) -> None:
    here, there = ends
    before = open_fds()
    heard: list[Message] = []

    def hear(message: Message, fds: list[int]) -> None:
        close_all(fds)
        heard.append(message)
        there.close()

    there.attach(asyncio.get_running_loop(), hear, lambda: heard.append({"type": "closed"}))
    for number in range(3):
        here.send({"type": "count", "number": number}, [0])
    await until(lambda: there.fileno() == -1, "the channel was closed")
    assert heard == [{"type": "count", "number": 0}]
    assert open_fds() == before - 1
