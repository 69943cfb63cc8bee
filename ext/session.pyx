# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What an event, a turn and a deadline mean in each state of a session."""
from lb._ext.board cimport *
from lb._ext.connect cimport attempt_failed, connect_somewhere, on_connecting, turn_away
from lb._ext.ending cimport cut, end, linger, pass_reset
from lb._ext.linux cimport *
from lb._ext.opening cimport on_opening, opening_late
from lb._ext.options cimport keep_alive
from lb._ext.pick cimport draw
from lb._ext.pump cimport has_kept
from lb._ext.queue cimport next_served
from lb._ext.relay cimport go_on_relaying, on_relaying
from lb._ext.state cimport *
from lb._ext.wheel cimport set_deadline

cdef enum:
    QUEUES_EVERY_MS = 1
    SERVED_MAX = 64             # queued sessions per pool and turn


cdef void on_event(engine_t* e, session_t* s, int side, uint32_t events) noexcept nogil:
    cdef side_t* here = &s.side[side]
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI):
        here.flags |= READABLE
        if events & EPOLLRDHUP:
            here.flags |= ENDED
        if events & EPOLLERR:
            here.flags |= FAILED
        if events & EPOLLPRI:
            here.flags = (here.flags | URGENT) & ~STREAM
    if s.state == RELAYING:
        on_relaying(e, s, side, events)
    elif s.state == LINGERING:
        if side == s.linger_side:
            linger(e, s)
    elif s.state == FREE:  # it ended in this batch, and is on the ready list still
        return
    elif side == UPSTREAM:
        on_connecting(e, s, events)
    elif events & EPOLLERR:
        end(e, s, REASON_CLIENT_RESET, BY_CLIENT)
    elif s.state == OPENING:
        on_opening(e, s)


cdef void go_on(engine_t* e, session_t* s) noexcept nogil:
    if s.state == RELAYING:
        go_on_relaying(e, s)
    elif s.state == LINGERING:
        linger(e, s)


cdef void serve_queues(engine_t* e) noexcept nogil:
    """What other workers freed is seen within QUEUES_EVERY_MS."""
    cdef uint32_t pool
    e.queues_due_ms = e.now_ms + QUEUES_EVERY_MS
    for pool in range(min(e.board.header.pools_high, <uint32_t>POOLS_MAX)):
        if e.queue_first[pool] != NONE:
            serve_queue(e, pool)


cdef void serve_queue(engine_t* e, uint32_t pool) noexcept nogil:
    """Those that had their turn, as there is room; then those whose turn it is, until one finds none."""
    cdef uint32_t index = e.queue_first[pool]
    cdef session_t* s
    cdef int _
    for _ in range(SERVED_MAX):
        if index == NONE or index == e.queue_fresh[pool]:
            break
        s = &e.slots[index]
        index = s.queue_next
        connect_somewhere(e, s)
    for _ in range(SERVED_MAX):
        s = next_served(e, pool)
        if s == NULL:
            return
        connect_somewhere(e, s)
        if e.queue_fresh[pool] == s.index:
            return


# ---- Deadlines --------------------------------------------------------------------------------------

cdef void on_deadline(engine_t* e, session_t* s) noexcept nogil:
    if s.state == RELAYING:
        check_idle(e, s)
    elif s.state == LINGERING:
        linger(e, s)
    elif s.state == CONNECTING:
        attempt_failed(e, s, FAILED_TIMEOUT)
        connect_somewhere(e, s)
    elif s.state == QUEUED:
        turn_away(e, s, REASON_QUEUE_TIMEOUT)
    elif s.state == OPENING:
        opening_late(e, s)


cdef void check_idle(engine_t* e, session_t* s) noexcept nogil:
    cdef uint8_t flags = s.side[CLIENT].flags | s.side[UPSTREAM].flags
    cdef bint half = flags & SHUT
    cdef uint32_t limit_ms = s.reset_linger_ms if flags & FAILED else s.half_close_ms if half else s.idle_ms
    if not s.settled and s.listener < e.table.header.listeners_count:
        s.settled = 1
        keep_alive(s.side[UPSTREAM].fd, &e.table.listeners[s.listener], draw(e))
        keep_alive(s.side[CLIENT].fd, &e.table.listeners[s.listener], draw(e))
    if limit_ms == 0 and not flags & FAILED:
        return
    if e.now_ms < s.active_ms + limit_ms:
        set_deadline(e, s, s.active_ms + limit_ms)
        return
    if flags & FAILED:
        pass_reset(e, s, CLIENT if s.side[CLIENT].flags & FAILED else UPSTREAM)
    elif has_kept(&s.side[CLIENT]) or has_kept(&s.side[UPSTREAM]):
        cut(e, s, REASON_HALF_CLOSE_TIMEOUT if half else REASON_IDLE_TIMEOUT)
    else:
        end(e, s, REASON_HALF_CLOSE_TIMEOUT if half else REASON_IDLE_TIMEOUT, BY_LB)
