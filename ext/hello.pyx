# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A ClientHello, read without a TLS library. Bytes in, values out: no socket here.

Facts
  1  A handshake message may be cut into any number of records, of a byte each if the client likes.
  2  A client that hides its server (ECH) shows the name of whoever hides it, and that is what is read here.

Whoever is in doubt says HELLO_NONE: the session then goes on as one without a name.
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from lb._ext.proxy cimport run_t
from lb._ext.state cimport NAME_BYTES_MAX

cdef enum:
    RECORD_HEAD_BYTES = 5
    RECORD_BYTES_MAX = 16384
    HANDSHAKE_HEAD_BYTES = 4
    HANDSHAKE_RECORD = 22
    CLIENT_HELLO = 1
    VERSION_MAJOR = 3
    VERSION_AND_RANDOM_BYTES = 34
    EXTENSION_SERVER_NAME = 0
    EXTENSION_ALPN = 16
    HOST_NAME = 0

cdef struct cursor_t:
    const uint8_t* at
    const uint8_t* end


cdef hello_reading_t read_hello(char* data, uint32_t size, hello_t* out) noexcept nogil:
    cdef uint32_t length = 0
    cdef hello_reading_t found = gather(<uint8_t*>data, size, &length)
    memset(out, 0, sizeof(hello_t))
    if found == HELLO_READ and not read_message(<const uint8_t*>data, length, out):
        memset(out, 0, sizeof(hello_t))
        return HELLO_NONE
    return found


cdef hello_reading_t gather(uint8_t* data, uint32_t size, uint32_t* length) noexcept nogil:
    """Joins the contents of records at the start of `data` until they are the whole message."""
    cdef uint32_t at = 0, joined = 0, taken, record
    while True:  # each record takes more than RECORD_HEAD_BYTES
        if not may_be_record(data + at, size - at):
            return HELLO_NONE
        if size - at < RECORD_HEAD_BYTES:
            return HELLO_MORE
        record = <uint32_t>data[at + 3] << 8 | data[at + 4]
        if record == 0 or record > RECORD_BYTES_MAX:
            return HELLO_NONE
        at += RECORD_HEAD_BYTES
        taken = min(record, size - at)
        memmove(data + joined, data + at, taken)
        at += taken
        joined += taken
        if joined and data[0] != CLIENT_HELLO:
            return HELLO_NONE
        if joined >= HANDSHAKE_HEAD_BYTES:
            length[0] = HANDSHAKE_HEAD_BYTES + (<uint32_t>data[1] << 16 | <uint32_t>data[2] << 8 | data[3])
            if joined >= length[0]:
                return HELLO_READ
        if taken < record:
            return HELLO_MORE


cdef bint may_be_record(const uint8_t* data, uint32_t size) noexcept nogil:
    """As far as it has come, the head of a record of a handshake."""
    return (size < 1 or data[0] == HANDSHAKE_RECORD) and (size < 2 or data[1] == VERSION_MAJOR)


# ---- The message ------------------------------------------------------------------------------------

cdef bint read_message(const uint8_t* data, uint32_t size, hello_t* out) noexcept nogil:
    cdef cursor_t message, skipped, extensions
    message.at, message.end = data + HANDSHAKE_HEAD_BYTES, data + size
    if message.end - message.at < VERSION_AND_RANDOM_BYTES:
        return False
    message.at += VERSION_AND_RANDOM_BYTES
    if not (cut_off(&message, 1, &skipped)  # the session, the ciphers, the compressions
            and cut_off(&message, 2, &skipped) and cut_off(&message, 1, &skipped)):
        return False
    if message.at == message.end:
        return True
    return (cut_off(&message, 2, &extensions) and message.at == message.end
            and read_extensions(&extensions, out))


cdef bint cut_off(cursor_t* rest, int head, cursor_t* out) noexcept nogil:
    """Splits off what follows its own length, of `head` bytes (1 or 2)."""
    cdef uint32_t size
    if rest.end - rest.at < head:
        return False
    size = rest.at[0] if head == 1 else <uint32_t>rest.at[0] << 8 | rest.at[1]
    if rest.end - rest.at - head < size:
        return False
    out.at = rest.at + head
    out.end = rest.at = out.at + size
    return True


cdef bint read_extensions(cursor_t* rest, hello_t* out) noexcept nogil:
    cdef cursor_t extension
    cdef int kind
    while rest.at < rest.end:  # each takes four bytes at least
        if rest.end - rest.at < 2:
            return False
        kind = rest.at[0] << 8 | rest.at[1]
        rest.at += 2
        if not cut_off(rest, 2, &extension):
            return False
        if kind == EXTENSION_SERVER_NAME and not read_server_names(&extension, out):
            return False
        if kind == EXTENSION_ALPN and not read_protocols(&extension, out):
            return False
    return True


cdef bint read_server_names(cursor_t* extension, hello_t* out) noexcept nogil:
    """The first host name: a second one is forbidden (RFC 6066, 3), and there are no other kinds."""
    cdef cursor_t names, name
    cdef int kind
    if not cut_off(extension, 2, &names) or extension.at != extension.end:
        return False
    while names.at < names.end:
        kind = names.at[0]
        names.at += 1
        if not cut_off(&names, 2, &name):
            return False
        if kind == HOST_NAME and out.name.size == 0:
            out.name.data, out.name.size = <const char*>name.at, <uint32_t>(name.end - name.at)
    return True


cdef bint read_protocols(cursor_t* extension, hello_t* out) noexcept nogil:
    cdef cursor_t names, name
    if not cut_off(extension, 2, &names) or extension.at != extension.end:
        return False
    out.protocols.data, out.protocols.size = <const char*>names.at, <uint32_t>(names.end - names.at)
    while names.at < names.end:
        if not cut_off(&names, 1, &name) or name.at == name.end:
            return False
    return True


# ---- What is made of it -----------------------------------------------------------------------------

cdef run_t sole_protocol(const hello_t* hello) noexcept nogil:
    cdef run_t sole
    sole.data, sole.size = NULL, 0
    if hello.protocols.size and <uint8_t>hello.protocols.data[0] == hello.protocols.size - 1:
        sole.data, sole.size = hello.protocols.data + 1, hello.protocols.size - 1
    return sole


cdef uint32_t put_name(char* out, run_t name) noexcept nogil:
    cdef uint32_t i
    cdef char c
    if name.size > NAME_BYTES_MAX:
        return 0
    for i in range(name.size):
        c = name.data[i]
        if c >= b"A" and c <= b"Z":
            c += 32
        elif not (c >= b"a" and c <= b"z" or c >= b"0" and c <= b"9" or c == b"." or c == b"-" or c == b"_"):
            return 0
        out[i] = c
    return name.size


# ---- For tests --------------------------------------------------------------------------------------

def read(bytes data) -> dict | None:
    """What the ClientHello at the start of `data` says; None: it is incomplete. Raises ValueError for none.

    `name` is as a session keeps it, b"" when there is none to be kept; `protocols` as they were sent.
    """
    cdef hello_t found
    cdef char[NAME_BYTES_MAX] name
    cdef uint32_t size = len(data)
    cdef char* exact = <char*>malloc(max(size, 1))  # of its size, so that a sanitizer sees a read beyond it
    cdef hello_reading_t outcome
    cdef run_t sole
    if exact == NULL:
        raise MemoryError
    try:
        memcpy(exact, <const char*>data, size)
        outcome = read_hello(exact, size, &found)
        if outcome == HELLO_MORE:
            return None
        if outcome == HELLO_NONE:
            raise ValueError("not a ClientHello")
        sole = sole_protocol(&found)
        return {
            "name": name[:put_name(name, found.name)],
            "protocols": found.protocols.data[:found.protocols.size],
            "sole_protocol": sole.data[:sole.size],
        }
    finally:
        free(exact)
