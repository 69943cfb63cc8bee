# cython: language_level=3
"""How a session's socket is registered: once, edge-triggered, with the slot and the slot's user."""
from lb._ext.linux cimport *
from lb._ext.state cimport *

cdef enum:
    INTEREST = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP


cdef inline bint watch(engine_t* e, session_t* s, int side) noexcept nogil:
    cdef epoll_event event
    event.events = INTEREST | <uint32_t>EPOLLET
    event.data.u64 = <uint64_t>s.generation << 32 | <uint64_t>(s.index << 1 | side)
    return epoll_ctl(e.epfd, EPOLL_CTL_ADD, s.side[side].fd, &event) == 0
