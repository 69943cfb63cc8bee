# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Accepting: a bounded batch per wake-up, as long as there is room.

At a limit the socket leaves the epoll set and the backlog waits; nobody is accepted only to be closed.
"""
from libc.string cimport memset

from lb._ext.board cimport *
from lb._ext.ending cimport cut
from lb._ext.gate cimport is_paced
from lb._ext.linux cimport *
from lb._ext.opening cimport open_session
from lb._ext.options cimport set_option
from lb._ext.slab cimport give_slot, take_slot
from lb._ext.state cimport *
from lb._ext.table cimport listener_t
from lb._ext.watch cimport watch

cdef enum:
    RESUME_AFTER_MS = 100       # paused listening sockets are tried again, room or not


cdef void welcome(engine_t* e, listening_t* here) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[here.listener]
    cdef session_t* s
    cdef socklen_t size
    cdef int _, fd
    for _ in range(ACCEPTS_MAX):
        s = take_slot(e) if has_room(e, here.listener) and not is_paced(e, here.listener) else NULL
        if s == NULL:
            pause(e, here)
            return
        size = sizeof(address_t)
        fd = accept4(here.fd, &s.client.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd == -1:
            give_slot(e, s)
            if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                pause(e, here)
                return
            if errno == EAGAIN:
                return
            if errno == EINVAL:  # it listens no more, and would be reported for ever; unlisten() follows
                epoll_ctl(e.epfd, EPOLL_CTL_DEL, here.fd, NULL)
                return
            continue  # that client's own misfortune (ECONNABORTED, EPROTO, ...): the next one
        begin(e, s, fd, here.listener, line)


cdef bint has_room(engine_t* e, uint32_t listener) noexcept nogil:
    cdef uint32_t sessions_max
    if (e.table.header == NULL or listener >= e.table.header.listeners_count
            or not e.table.listeners[listener].present):
        return False
    sessions_max = e.table.listeners[listener].sessions_max
    return (e.slots_used < e.slots_max
            and (e.sessions_max_all == 0 or sessions_open(&e.board) < e.sessions_max_all)
            and (sessions_max == 0 or listener_open(&e.board, listener) < sessions_max))


cdef void pause(engine_t* e, listening_t* here) noexcept nogil:
    """Level-triggered, it would be reported for ever. The backlog waits meanwhile."""
    if here.paused:
        return
    epoll_ctl(e.epfd, EPOLL_CTL_DEL, here.fd, NULL)
    here.paused = 1
    if e.paused_count == 0:
        e.resume_ms = e.now_ms + RESUME_AFTER_MS
    e.paused_count += 1
    e.cell.accept_paused_total += 1


cdef void resume_paused(engine_t* e) noexcept nogil:
    cdef listening_t* here
    cdef epoll_event event
    cdef uint32_t i
    e.room_made = False
    e.resume_ms = e.now_ms + RESUME_AFTER_MS
    for i in range(e.listenings_high):
        here = &e.listenings[i]
        if here.fd != -1 and here.paused and has_room(e, here.listener):
            event.events, event.data.u64 = EPOLLIN, <uint64_t>NONE << 32 | i
            if epoll_ctl(e.epfd, EPOLL_CTL_ADD, here.fd, &event) == 0:
                here.paused = 0
                e.paused_count -= 1


cdef void begin(engine_t* e, session_t* s, int fd, uint32_t listener, const listener_t* line) noexcept nogil:
    s.side[CLIENT].fd = fd
    e.descriptors_open += 1
    s.listener = listener
    if s.client.any.sa_family == AF_UNIX:  # nothing but the queue's length is inherited there
        memset(&s.client, 0, sizeof(s.client))
        s.client.any.sa_family, s.side[CLIENT].flags = AF_UNIX, UNSURE
        set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1)
    s.idle_ms, s.half_close_ms, s.reset_linger_ms = line.idle_ms, line.half_close_ms, line.reset_linger_ms
    s.accepted_ns, s.active_ms = e.now_ns, e.now_ms
    e.cell.sessions_open += 1
    e.listener_open[listener] += 1
    e.listeners[listener].sessions_total += 1
    if not watch(e, s, CLIENT):
        s.state = OPENING
        cut(e, s, REASON_LB_ERROR)
        return
    open_session(e, s)
