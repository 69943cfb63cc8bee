# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The relay. Theory of operation.

A session is OPENING, then CONNECTING, then RELAYING, and may end by LINGERING.

    accept -> OPENING -> CONNECTING -> RELAYING -> end    both ends of stream were passed on
                 |          |  ^           |----> LINGERING    one side was reset, or half_close is 0: what
                 |   QUEUED |  | another   |          |        the other was sent must be acknowledged first
                 |          |__| endpoint  |          v
                 v          v              |----> end          a deadline, an order
                end        end             no endpoint, no attempt left; refused

Facts
  1  Events of one side come in any order with those of the other; what is known of a side is in its flags.
  2  Keepalive matters only to a session that lives: it is set when the wheel first meets the session.
  3  A reader that stops holds what our kernel keeps for it. At first that is bounded (TCP_NOTSENT_LOWAT);
     the bound is lifted when the reader makes room soon after it was blocked, and set again when it is seen
     to stand still. So one that never read holds little, and one that reads is sent large portions; one that
     read and then stopped may hold what the kernel allows (net.ipv4.tcp_wmem).
"""
from lb._ext.board cimport *
from lb._ext.cost cimport first_byte_took, weighs_costs
from lb._ext.debug cimport bug_on
from lb._ext.ending cimport cut, end, pass_reset, release, sooner, start_linger
from lb._ext.linux cimport *
from lb._ext.options cimport free_unsent
from lb._ext.pace cimport paced_until_ms
from lb._ext.pump cimport *
from lb._ext.state cimport *

cdef enum:
    TRUSTED_WITHIN_MS = 100     # a reader that was blocked, and has room again


cdef void on_relaying(engine_t* e, session_t* s, int side, uint32_t events) noexcept nogil:
    cdef side_t* here = &s.side[side]
    if events & EPOLLERR:  # what came before is still handed on, but a reader that stopped is not awaited
        linger_from_now(e, s)
    if e.moved_bytes >= e.moved_until:
        make_ready(e, s)
        return
    if events & EPOLLOUT and has_kept(here):
        if here.flags & LEAN and e.now_ms - s.active_ms <= TRUSTED_WITHIN_MS:
            free_unsent(here)
        if not relay(e, s, 1 - side, True):
            return
    if here.flags & READABLE:
        relay(e, s, side, False)


cdef void go_on_relaying(engine_t* e, session_t* s) noexcept nogil:
    if relay(e, s, CLIENT, True):
        relay(e, s, UPSTREAM, True)


cdef bint relay(engine_t* e, session_t* s, int source, bint may_flush) noexcept nogil:
    """Pumps one direction. False: the session is no longer RELAYING."""
    cdef side_t* giver = &s.side[source]
    cdef side_t* taker = &s.side[1 - source]
    cdef pumped_t outcome
    cdef uint64_t before, active_ms
    if taker.flags & (BROKEN | SHUT) or (has_kept(taker) and not may_flush):
        # What a side sends after its own end was passed on is an error, or nothing.
        return check_failed(e, s, source) if taker.flags & SHUT else True
    before, active_ms = s.bytes_in + s.bytes_out, s.active_ms
    outcome = pump_doubted(e, s) if s.opens and source == CLIENT else pump(e, s, source)
    if s.bytes_in + s.bytes_out != before:
        count_bytes(e, s, source, s.bytes_in + s.bytes_out - before, active_ms)
    if outcome == PUMP_WAITS:
        return True
    if outcome == PUMP_STOPPED:
        make_ready(e, s)
        return True
    if outcome == PUMP_PACED:
        sooner(e, s, paced_until_ms(e, s, source))
        return True
    if outcome == PUMP_FINISHED and not giver.flags & BROKEN:
        return pass_end(e, s, source)
    if outcome == PUMP_TAKER_RESET:
        return salvage(e, s, 1 - source)
    if outcome == PUMP_NO_MEMORY:
        cut(e, s, REASON_LB_ERROR)
    elif outcome == PUMP_FORBIDDEN:
        cut(e, s, REASON_BAD_PROXY_HEADER)
    else:
        pass_reset(e, s, source)
    return False


cdef void count_bytes(engine_t* e, session_t* s, int source, uint64_t size,
                      uint64_t active_ms) noexcept nogil:
    cdef endpoint_cell_t* cell = &e.endpoints[s.endpoint]
    if source == CLIENT:
        cell.bytes_in += size
        return
    cell.bytes_out += size
    if s.first_byte_ns == 0:
        s.first_byte_ns = e.now_ns
        if not s.silent and unlikely(load_acquire_32(&e.board.failed_in_row[s.endpoint]) != 0):
            store_release_32(&e.board.failed_in_row[s.endpoint], 0)
        observe(&cell.first_byte, fast_bounds_us, (e.now_ns - s.connected_ns) // 1000)
        if weighs_costs(e, s):
            first_byte_took(e, s, active_ms)


cdef bint check_failed(engine_t* e, session_t* s, int source) noexcept nogil:
    """A side whose end of stream was passed on can still be reset."""
    if not s.side[source].flags & FAILED:
        return True
    pass_reset(e, s, source)
    return False


cdef bint pass_end(engine_t* e, session_t* s, int source) noexcept nogil:
    cdef side_t* giver = &s.side[source]
    cdef side_t* taker = &s.side[1 - source]
    if giver.flags & SHUT:
        end(e, s, REASON_DONE, s.closer)
        return False
    s.closer = BY_CLIENT if source == CLIENT else BY_ENDPOINT
    if s.half_close_ms == 0:
        s.reason = REASON_DONE
        release(e, s)
        start_linger(e, s, 1 - source, False)
        return False
    taker.flags |= SHUT
    shutdown(taker.fd, SHUT_WR)
    s.active_ms = e.now_ms
    sooner(e, s, e.now_ms + s.half_close_ms)
    return check_failed(e, s, source)


cdef bint salvage(engine_t* e, session_t* s, int broken) noexcept nogil:
    """A side was reset while we sent to it. What it sent before goes to the other side, then the reset."""
    cdef side_t* here = &s.side[broken]
    drop_kept(e, here)
    here.flags |= BROKEN | FAILED | READABLE
    if s.side[1 - broken].flags & BROKEN:  # the other was first
        pass_reset(e, s, 1 - broken)
        return False
    linger_from_now(e, s)
    if s.side[1 - broken].flags & SHUT:
        pass_reset(e, s, broken)
        return False
    return relay(e, s, broken, True)


cdef void linger_from_now(engine_t* e, session_t* s) noexcept nogil:
    """The deadline of a session one of whose sides has failed counts from its last byte, or from here."""
    s.active_ms = e.now_ms
    sooner(e, s, e.now_ms + s.reset_linger_ms)


cdef bint lose(engine_t* e, session_t* s, int side) noexcept nogil:
    s.side[side].flags |= VANISHED
    return salvage(e, s, side)


cdef void make_ready(engine_t* e, session_t* s) noexcept nogil:
    if s.ready:
        return
    bug_on(s.state != RELAYING, "a session that does not relay is made ready")
    s.ready, s.next_ready = 1, NONE
    if e.ready_last == NONE:
        e.ready_first = s.index
    else:
        e.slots[e.ready_last].next_ready = s.index
    e.ready_last = s.index
