# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What an event, a turn and a deadline mean in each state of a session."""
from libc.stdint cimport int64_t

from lb._ext.board cimport *
from lb._ext.connect cimport (
    attempt_failed, connect_again, connect_somewhere, on_connecting, try_elsewhere, turn_away,
)
from lb._ext.deadlines cimport check_deadlines
from lb._ext.ending cimport cut, end, linger, loss_of
from lb._ext.linux cimport *
from lb._ext.opening cimport on_opening, opening_late
from lb._ext.options cimport reset_at_close
from lb._ext.pace cimport PACE_WAITS_ANY
from lb._ext.queue cimport next_served
from lb._ext.relay cimport go_on_relaying, on_relaying
from lb._ext.state cimport *

cdef enum:
    SCAN_MAX = 4096             # slots looked at per close_some()
    CUTS_MAX = 256              # sessions cut per close_some()
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
        if unlikely(events & EPOLLPRI or here.flags & URGENT):
            note_urgent(here, events)
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
        reset_at_close(s.side[UPSTREAM].fd)  # the endpoint may have accepted: a clean end would hide it
        end(e, s, loss_of(here, CLIENT), BY_CLIENT)
    elif s.state == OPENING:
        on_opening(e, s)


cdef void note_urgent(side_t* here, uint32_t events) noexcept nogil:
    """An event without PRI was made when no mark was ahead. One that arrived since comes with an event of its
    own, and what a short read at it then missed is read after that."""
    if events & EPOLLPRI:
        here.flags = (here.flags | URGENT) & ~STREAM
    else:
        here.flags &= ~URGENT


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
    """Those that had their turn, as there is room; then those whose turn it is, until one finds none. Who
    starves would not be the only one: the others keep their places."""
    cdef uint32_t index = e.queue_first[pool]
    cdef session_t* s
    cdef int _
    for _ in range(SERVED_MAX):
        if index == NONE or index == e.queue_fresh[pool]:
            break
        s = &e.slots[index]
        index = s.queue_next
        connect_somewhere(e, s)
        if s.state == STARVED:
            return
    for _ in range(SERVED_MAX):
        s = next_served(e, pool)
        if s == NULL or e.starved[s.listener]:
            return
        connect_somewhere(e, s)
        if e.queue_fresh[pool] == s.index or s.state == STARVED:
            return


cdef void on_deadline(engine_t* e, session_t* s) noexcept nogil:
    if s.state == RELAYING:
        if check_deadlines(e, s) and s.pacing & PACE_WAITS_ANY:
            go_on_relaying(e, s)
    elif s.state == LINGERING:
        linger(e, s)
    elif s.state == CONNECTING:
        attempt_failed(e, s, FAILED_TIMEOUT)
        connect_somewhere(e, s)
    elif s.state == QUEUED:
        turn_away(e, s, REASON_QUEUE_TIMEOUT)
    elif s.state == OPENING:
        opening_late(e, s)
    elif s.state == STARVED:
        connect_again(e, s)


cdef int64_t close_some(engine_t* e, int64_t endpoint, int64_t listener, int reason,
                        uint32_t start) noexcept nogil:
    cdef uint32_t index = start
    cdef int looked = 0, cuts = 0
    cdef session_t* s
    while index < e.slots_high and looked < SCAN_MAX and cuts < CUTS_MAX:
        s = &e.slots[index]
        index += 1
        looked += 1
        if s.state == FREE or (listener != -1 and s.listener != listener):
            continue
        if endpoint != -1 and (s.endpoint != endpoint or s.state == LINGERING):  # it has left that one
            continue
        if s.state == CONNECTING and endpoint != -1:
            try_elsewhere(e, s)
        else:
            cut(e, s, reason)
        cuts += 1
    return index if index < e.slots_high else -1
