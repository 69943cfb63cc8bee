"""A peer that vanishes: its kernel drops whatever still comes for this connection, and answers nothing.

A filter on the socket says so (classic BPF: keep 0 bytes). It works on loopback, without privilege, for one
connection among many, and can be taken back.
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
BPF_RET = 0x06  # linux/bpf_common.h


def vanish(connection: socket.socket) -> None:
    keep_nothing = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(keep_nothing))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def come_back(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
