"""Classic BPF on listening sockets: which socket of a group gets a new connection, and how to admit no more.

*Steering* belongs to a whole SO_REUSEPORT group: the program returns the index of a socket, in the order in
which the sockets began to listen. Facts that its users live by:

- Without a program the kernel hashes over every socket of the group, also one that is about to be closed.
- An index out of range falls back to that hash.
- Closing a socket moves the last one to its index. Hence only the last index ever leaves a group.

Workers are drawn at random rather than by hash, so that neither one client address nor a scanner's ports
decide which worker is busy.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

# include/uapi/asm-generic/socket.h
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
SO_ATTACH_REUSEPORT_CBPF = 51

# include/uapi/linux/bpf_common.h, filter.h: class | size or operation | mode or source
LOAD_WORD = 0x20
LOAD_BYTE = 0x30
AND = 0x54
MODULO = 0x94
JUMP_IF_EQUAL = 0x15
RETURN = 0x06
RETURN_A = 0x16
RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: a word that is random, not read

WHOLE_PACKET = 0xFFFFFFFF
TCP_FLAGS_OFFSET = 13  # a filter on a TCP socket sees the packet from the TCP header on
TCP_SYN, TCP_ACK = 0x02, 0x10

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant

ONLY_HANDSHAKES_UNDER_WAY: tuple[Instruction, ...] = (
    (LOAD_BYTE, 0, 0, TCP_FLAGS_OFFSET),
    (AND, 0, 0, TCP_SYN | TCP_ACK),
    (JUMP_IF_EQUAL, 0, 1, TCP_SYN),
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, WHOLE_PACKET),
)


def steer(sock: socket.socket, count: int) -> None:
    """New connections of the group that `sock` is in go to the indexes 0 to count - 1, at random."""
    program = ((LOAD_WORD, 0, 0, RANDOM), (MODULO, 0, 0, count), (RETURN_A, 0, 0, 0))
    attach(sock, SO_ATTACH_REUSEPORT_CBPF, program)


def refuse_handshakes(sock: socket.socket) -> None:
    """Drop every SYN unanswered; what already began goes on.

    A client tries again after 1 s, and is then refused: the socket is closed by then. Connections accepted
    from now on inherit the filter, which lets all of their packets pass. An RST without ACK passes too: a
    client that gave up must not stay half open.
    """
    attach(sock, SO_ATTACH_FILTER, ONLY_HANDSHAKES_UNDER_WAY)


def admit_handshakes(sock: socket.socket) -> None:
    """Undo `refuse_handshakes`, if it was done."""
    with suppress(FileNotFoundError):
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def attach(sock: socket.socket, option: int, program: tuple[Instruction, ...]) -> None:
    """struct sock_fprog points to the instructions; the kernel copies them before setsockopt returns."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, option, fprog)
