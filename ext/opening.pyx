# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Opening. Most sessions have nothing to say first, and go on to an endpoint within the same turn.

Facts
  1  What is read here is peeked at, over and over as it grows, and only a PROXY header is then consumed. Each
     new byte gives a new edge; so READABLE is cleared while more is awaited, and set again on the way out.
  2  Whether a client must open with a header is judged by its socket's address; whether it is let in, by the
     address that the header names.
  3  The routing deadline is absolute, from accept: bytes that trickle in do not move it.
  4  A client that must not send a header is not awaited, since its protocol may be one where the server
     speaks first: its first bytes are looked at when they come, by pump_doubted().

Rejected: a header that is optional. Then any client could name itself another.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from lb._ext.board cimport *
from lb._ext.connect cimport connect_somewhere
from lb._ext.ending cimport cut, end, refuse, sooner
from lb._ext.gate cimport admit, is_in
from lb._ext.hello cimport *
from lb._ext.linux cimport *
from lb._ext.proxy cimport *
from lb._ext.slab cimport take_block, take_details
from lb._ext.state cimport *
from lb._ext.table cimport OPEN_HELLO, OPEN_PROXY, listener_t
from lb._ext.transitions cimport become


cdef void open_session(engine_t* e, session_t* s) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[s.listener]
    become(s, OPENING)
    s.opens = line.opens
    if s.opens & OPEN_PROXY and not is_in(&e.table, &line.proxied_from, &s.client):
        s.opens = (s.opens & ~OPEN_PROXY) | OPEN_DOUBTED
    if not s.opens & OPEN_PROXY and not let_in(e, s, line):
        return
    if s.opens & (OPEN_PROXY | OPEN_HELLO):
        s.side[CLIENT].flags |= READABLE  # it may have spoken already
        on_opening(e, s)
    else:
        connect_somewhere(e, s)


cdef void on_opening(engine_t* e, session_t* s) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[s.listener]
    if s.listener >= e.table.header.listeners_count or not line.present:
        cut(e, s, REASON_LB_ERROR)  # its line has left before it: the supervisor promised otherwise
        return
    if not s.side[CLIENT].flags & READABLE:
        return
    if s.opens & OPEN_PROXY and not (read_header(e, s, line) and let_in(e, s, line)):
        return
    if s.opens & OPEN_HELLO and not read_name(e, s, line):
        return
    connect_somewhere(e, s)


cdef void opening_late(engine_t* e, session_t* s) noexcept nogil:
    cut(e, s, REASON_ROUTING_TIMEOUT)


cdef bint let_in(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """Once, as soon as the client's address is known. False: the session is gone."""
    cdef int reason = admit(e, s, line) if line.gates else -1
    if reason != -1:
        refuse(e, s, line, reason)
    return reason == -1


# ---- Peeking ----------------------------------------------------------------------------------------

cdef ssize_t peek(engine_t* e, session_t* s, const listener_t* line, size_t size_max) noexcept nogil:
    """The first bytes, into the engine's buffer. 0: none yet, or the session is gone."""
    cdef ssize_t size = read_some(s.side[CLIENT].fd, e.buffer, size_max, MSG_PEEK)
    if size > 0:
        return size
    if size == 0:
        end(e, s, REASON_DONE, BY_CLIENT)  # a health check that only connects
    elif errno == EAGAIN:
        await_more(e, s, line)
    elif errno == ENOMEM or errno == ENOBUFS or errno == EINTR:
        cut(e, s, REASON_LB_ERROR)
    else:
        end(e, s, REASON_CLIENT_RESET, BY_CLIENT)
    return 0


cdef ssize_t read_some(int fd, char* data, size_t size, int flags) noexcept nogil:
    """recv(), once more if a signal came: no edge would."""
    cdef ssize_t found = recv(fd, data, size, flags)
    return recv(fd, data, size, flags) if found == -1 and errno == EINTR else found


cdef void await_more(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    s.side[CLIENT].flags &= ~READABLE
    sooner(e, s, s.accepted_ns // 1000000 + line.routing_ms)


# ---- A PROXY header ---------------------------------------------------------------------------------

cdef bint read_header(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """False: the session waits, or is gone."""
    cdef proxied_t header
    cdef reading_t found
    cdef ssize_t size = peek(e, s, line, PROXY_BYTES_MAX)
    if size == 0:
        return False
    found = read_proxy(e.buffer, <uint32_t>size, &header)
    if found == PROXY_MORE and not s.side[CLIENT].flags & ENDED:
        await_more(e, s, line)
        return False
    if found != PROXY_READ:
        refuse(e, s, line, REASON_BAD_PROXY_HEADER)
        return False
    if not note_header(e, s, line, &header):
        cut(e, s, REASON_LB_ERROR)
        return False
    if read_some(s.side[CLIENT].fd, e.buffer, header.size, 0) != header.size:
        cut(e, s, REASON_LB_ERROR)  # what was peeked at cannot have left
        return False
    s.opens &= ~OPEN_PROXY
    if (size == header.size and size < PROXY_BYTES_MAX
            and not s.side[CLIENT].flags & (ENDED | FAILED | URGENT | UNSURE)):
        s.side[CLIENT].flags &= ~READABLE  # as after any short read
    return True


cdef bint note_header(engine_t* e, session_t* s, const listener_t* line,
                      const proxied_t* header) noexcept nogil:
    """False: no memory."""
    if not header.named:
        return True
    s.details = take_details(e)
    if s.details == NULL:
        return False
    s.details.peer = s.client
    s.client = unmapped(&header.client)
    s.details.destination = header.destination
    s.details.name_size = <uint8_t>put_name(s.details.name, header.authority)
    if s.details.name_size:
        s.opens &= ~OPEN_HELLO  # it is known, and the proxy before may have taken the TLS off
    return note_for_endpoint(e, s, line, header.alpn, header.unique_id)


cdef address_t unmapped(const address_t* address) noexcept nogil:
    """An IPv4 address written as an IPv6 one, as what it is: lists and limits must know it again."""
    cdef address_t out = address[0]
    cdef const uint8_t* host = <const uint8_t*>&address.v6.sin6_addr
    cdef int i
    if address.any.sa_family != AF_INET6 or host[10] != 0xFF or host[11] != 0xFF:
        return out
    for i in range(10):
        if host[i]:
            return out
    out.v4.sin_family, out.v4.sin_port = AF_INET, address.v6.sin6_port
    memcpy(&out.v4.sin_addr, host + 12, 4)
    return out


cdef bint note_for_endpoint(engine_t* e, session_t* s, const listener_t* line, run_t protocol,
                            run_t unique_id) noexcept nogil:
    """Keeps what goes into a header of version 2, if such a one will be sent. False: no memory."""
    cdef opening_t* opening
    if e.table.pools[line.pool].send_proxy != 2 or (protocol.size == 0 and unique_id.size == 0):
        return True
    s.opening = take_block(e)
    if s.opening == NULL:
        return False
    opening = <opening_t*>s.opening.data
    opening.alpn_size = put_run(opening.alpn, protocol, sizeof(opening.alpn) - 1)
    opening.unique_id_size = put_run(opening.unique_id, unique_id, sizeof(opening.unique_id))
    return True


cdef uint32_t put_run(char* out, run_t run, uint32_t size_max) noexcept nogil:
    """Nothing of one that is too long."""
    if run.size == 0 or run.size > size_max:
        return 0
    memcpy(out, run.data, run.size)
    return run.size


# ---- A ClientHello ----------------------------------------------------------------------------------

cdef bint read_name(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """False: the session waits, or is gone. A client that is not understood goes on without a name."""
    cdef hello_t hello
    cdef hello_reading_t found
    cdef ssize_t size = peek(e, s, line, BLOCK_BYTES)
    if size == 0:
        return False
    found = read_hello(e.buffer, <uint32_t>size, &hello)
    if found == HELLO_MORE and size < BLOCK_BYTES and not s.side[CLIENT].flags & ENDED:
        await_more(e, s, line)
        return False
    if found == HELLO_READ:
        s.opens &= ~OPEN_DOUBTED  # it is no PROXY header
        if not note_hello(e, s, line, &hello):
            cut(e, s, REASON_LB_ERROR)
            return False
    s.opens &= ~OPEN_HELLO
    return True


cdef bint note_hello(engine_t* e, session_t* s, const listener_t* line, const hello_t* hello) noexcept nogil:
    """False: no memory."""
    cdef char[NAME_BYTES_MAX] name
    cdef uint32_t size = put_name(name, hello.name)
    cdef run_t no_id
    if size:
        if s.details == NULL:
            s.details = take_details(e)
        if s.details == NULL:
            return False
        memcpy(s.details.name, name, size)
        s.details.name_size = <uint8_t>size
    if s.opening != NULL:
        return True  # the header before it has said more
    no_id.data, no_id.size = NULL, 0
    return note_for_endpoint(e, s, line, sole_protocol(hello), no_id)
