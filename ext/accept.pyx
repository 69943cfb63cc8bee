# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Accepting: a bounded batch per wake-up, as long as there is room.

At a limit the socket leaves the epoll set and the backlog waits; nobody is accepted only to be closed. It
comes back when room was made here, or is looked for again after RESUME_AFTER_MS; for want of a token it comes
back in the millisecond in which the next one is due (see gate.pyx).
"""
from libc.string cimport memset

from lb._ext.board cimport *
from lb._ext.ending cimport cut
from lb._ext.gate cimport book_token, note_excess, return_token, take_token
from lb._ext.linux cimport *
from lb._ext.opening cimport open_session
from lb._ext.options cimport set_option
from lb._ext.pace cimport PACES
from lb._ext.pick cimport draw
from lb._ext.slab cimport give_slot, take_slot
from lb._ext.state cimport *
from lb._ext.table cimport GATE_RATE, listener_t, table_t
from lb._ext.transitions cimport become
from lb._ext.watch cimport watch

cdef enum:
    RESUME_AFTER_MS = 100       # paused listening sockets are tried again, room or not
    RESUMES_MAX = 16            # at a time: a single place that became free is not worth a thousand of them


cdef void welcome(engine_t* e, listening_t* here) noexcept nogil:
    cdef int _
    for _ in range(ACCEPTS_MAX):
        if not has_room(e, here.listener):
            pause(e, here)
            return
        if not accept_one(e, here, &e.table.listeners[here.listener]):
            return


cdef bint accept_one(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil:
    """False: it is enough for now."""
    cdef session_t* s
    cdef socklen_t size = sizeof(address_t)
    cdef int fd
    if line.gates & GATE_RATE and not line.dry_run and not has_token(e, here, line):
        return False
    s = take_slot(e)
    if s == NULL:
        pause(e, here)
        return False
    fd = accept4(here.fd, &s.client.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd == -1:
        give_slot(e, s)
        return goes_on(e, here)
    here.token_ns = 0
    if line.dry_run:
        note_excess(e, here.listener, line)
    begin(e, s, fd, here.listener, line)
    return True


cdef bint goes_on(engine_t* e, listening_t* here) noexcept nogil:
    """After accept() failed."""
    if errno == EAGAIN:
        if here.token_ns:
            return_token(e, here)
        return False
    if errno == EINVAL:  # it listens no more, and would be reported for ever; unlisten() follows
        epoll_ctl(e.epfd, EPOLL_CTL_DEL, here.fd, NULL)
        return False
    if errno in (ECONNABORTED, EINTR, EPROTO, EPERM, ENOPROTOOPT, ENETDOWN, ENETUNREACH, EHOSTDOWN,
                 EHOSTUNREACH, ENONET, EOPNOTSUPP):
        return True  # that client's own misfortune, and it is gone: the next one
    pause(e, here)  # want of descriptors or memory; or an order (of a security module) that holds for all
    return False


cdef bint has_token(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil:
    """For the next client. False: there is none now, or nobody who would need one."""
    cdef pollfd waiting
    if here.token_ns == 0 and not take_token(e, here, line):
        waiting.fd, waiting.events = here.fd, POLLIN
        if poll(&waiting, 1, 0) != 1:
            return False
        book_token(e, here, line)
    if here.token_ns > e.now_ns:
        pause_until(e, here, due_ms(here))
        return False
    return True


cdef uint64_t due_ms(const listening_t* here) noexcept nogil:
    return (here.token_ns + 999999) // 1000000


cdef bint has_room(engine_t* e, uint32_t listener) noexcept nogil:
    cdef const listener_t* line
    if e.table.header == NULL or listener >= e.table.header.listeners_count:
        return False
    if e.starved_count and e.starved[listener]:  # whoever came now would starve too
        return False
    line = &e.table.listeners[listener]
    return (line.present and e.slots_used < e.slots_max
            and (e.sessions_max_all == 0 or sessions_open(&e.board) < e.sessions_max_all)
            and (line.sessions_max == 0 or line.dry_run
                 or listener_open(&e.board, listener) < line.sessions_max))


cdef void pause(engine_t* e, listening_t* here) noexcept nogil:
    """Level-triggered, it would be reported for ever. The backlog waits meanwhile."""
    if not here.paused:
        e.cell.accept_paused_total += 1
        pause_until(e, here, e.now_ms + RESUME_AFTER_MS)


cdef void pause_until(engine_t* e, listening_t* here, uint64_t at_ms) noexcept nogil:
    epoll_ctl(e.epfd, EPOLL_CTL_DEL, here.fd, NULL)
    here.paused = 1
    e.resume_ms = min(e.resume_ms, at_ms) if e.paused_count else at_ms
    e.paused_count += 1


cdef void resume_paused(engine_t* e) noexcept nogil:
    """The first in the set is served first, and may take all the room there is: so they take turns at it."""
    cdef listening_t* here
    cdef uint32_t i, place, resumed = 0
    e.resume_ms = e.now_ms + RESUME_AFTER_MS
    for i in range(e.listenings_high):
        place = (e.resume_next + i) % e.listenings_high
        here = &e.listenings[place]
        if here.fd == -1 or not here.paused:
            continue
        if here.token_ns > e.now_ns:
            e.resume_ms = min(e.resume_ms, due_ms(here))
        elif resumed == RESUMES_MAX:
            e.resume_ms = e.now_ms + 1
            break
        elif has_room(e, here.listener):
            if resumed == 0:
                e.resume_next = place + 1
            resumed += resume(e, here, place)


cdef bint resume(engine_t* e, listening_t* here, uint32_t place) noexcept nogil:
    cdef epoll_event event
    event.events, event.data.u64 = EPOLLIN, <uint64_t>MARK_LISTENING << 32 | place
    if epoll_ctl(e.epfd, EPOLL_CTL_ADD, here.fd, &event) == -1:
        return False
    here.paused = 0
    e.paused_count -= 1
    return True


cdef void settle_tokens(engine_t* e, const table_t* coming) noexcept nogil:
    """Else a listener whose rate is raised would still wait for a token of the slower one."""
    cdef listening_t* here
    cdef uint32_t i
    for i in range(e.listenings_high):
        here = &e.listenings[i]
        if here.token_ns and (
                here.listener >= coming.header.listeners_count
                or coming.listeners[here.listener].rate_max != e.table.listeners[here.listener].rate_max):
            return_token(e, here)


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
    if line.age_max_ms:
        s.age_until_ms = e.now_ms + age_by_lot(e, line.age_max_ms)
    if line.upload_max | line.download_max:
        s.pacing |= PACES << CLIENT if line.upload_max else 0
        s.pacing |= PACES << UPSTREAM if line.download_max else 0
    e.cell.sessions_open += 1
    e.listener_open[listener] += 1
    e.listeners[listener].sessions_total += 1
    if not watch(e, s, CLIENT):
        become(s, OPENING)
        cut(e, s, REASON_LB_ERROR)
        return
    open_session(e, s)


cdef uint32_t age_by_lot(engine_t* e, uint32_t age_max_ms) noexcept nogil:
    """Shortened by up to a tenth: sessions that came together do not all come again together."""
    return age_max_ms - <uint32_t>(<uint64_t>draw(e) * (age_max_ms // 10) >> 32)
