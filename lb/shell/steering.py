"""Classic BPF on listening sockets: which socket of a group gets a new connection.

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

SO_ATTACH_REUSEPORT_CBPF = 51  # include/uapi/asm-generic/socket.h

# include/uapi/linux/bpf_common.h, filter.h: class | size or operation | mode or source
LOAD_WORD = 0x20
LOAD_HALF = 0x28
MODULO = 0x94
JUMP_IF_EQUAL = 0x15
RETURN = 0x06
RETURN_A = 0x16
RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM: a word that is random, not read
NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF

# The source port comes first in a TCP header. Our own packets have no options before it.
SOURCE_PORT = {socket.AF_INET: NETWORK_HEADER + 20, socket.AF_INET6: NETWORK_HEADER + 40}

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def steer(sock: socket.socket, count: int) -> None:
    """New connections of the group that `sock` is in go to the indexes 0 to count - 1, at random."""
    attach(sock, at_random(count))


def steer_port_to(sock: socket.socket, port: int, index: int, family: int) -> None:
    """The connection that comes from `port` goes to `index`, all others to the indexes below."""
    ours = (LOAD_HALF, 0, 0, SOURCE_PORT[socket.AddressFamily(family)]), (JUMP_IF_EQUAL, 0, 1, port)
    attach(sock, (*ours, (RETURN, 0, 0, index), *at_random(index)))


def steer_all_to(sock: socket.socket, index: int) -> None:
    attach(sock, ((RETURN, 0, 0, index),))


def at_random(count: int) -> tuple[Instruction, ...]:
    return (LOAD_WORD, 0, 0, RANDOM), (MODULO, 0, 0, count), (RETURN_A, 0, 0, 0)


def attach(sock: socket.socket, program: tuple[Instruction, ...]) -> None:
    """struct sock_fprog points to the instructions; the kernel copies them before setsockopt returns."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(program), ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, fprog)
