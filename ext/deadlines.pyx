# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The deadlines of a session that relays. Theory of operation.

One entry in the wheel stands for all: it is set for the earliest, and judged when it is due. A message does
not touch it (the wheel's facts); what is looked at here is looked at a few times in a session's life.

Peers that vanish. TCP notices only what it sends: keepalive while nothing is outstanding, retransmissions and
window probes while something is. Those go on for a quarter of an hour, or for ever; `user_timeout` is to end
them sooner.

Facts
  1  TCP_USER_TIMEOUT also kills a peer that lives and does not read: its window stays closed, and answered
     probes do not count for it. So the wheel judges: every quarter of user_timeout it looks at a session.
  2  A look costs nothing when no byte moved since a look that found everything acknowledged; else one ioctl
     for each side (SIOCOUTQ: unsent or unacknowledged); TCP_INFO only where something is outstanding.
  3  A peer is suspect when what was sent is being sent again, or when two window probes in a row had no
     answer (one may be lost, and the kernel limits how often it answers), and no acknowledgement of any kind
     has come since. Suspect for three quarters of user_timeout, it has vanished: so it takes between three
     quarters and all of it, from the first byte that was not acknowledged.
  4  Probes back off to one in 120 s, answered or not. From Linux 6.15 on that is bounded (TCP_RTO_MAX_MS) to
     a sixth of user_timeout for a side that is seen to be blocked. On an older kernel two probes that a
     blocked peer does not answer can take four minutes more.
  5  Looks are due at multiples of 256 ms: thousands of idle sessions wake the worker four times a second.

Rejected: TCP_USER_TIMEOUT switched off while a side is blocked (the block may be in the kernel alone, after
our last byte was accepted, and then nobody tells us).
"""
from lb._ext.board cimport *
from lb._ext.ending cimport cut, end, note_failure, pass_reset, sooner, spare_port
from lb._ext.linux cimport *
from lb._ext.options cimport bound_unsent, keep_alive, reset_at_close, set_option
from lb._ext.pick cimport draw
from lb._ext.pump cimport has_kept
from lb._ext.relay cimport lose
from lb._ext.state cimport *
from lb._ext.table cimport listener_t

cdef enum settled_t:
    FRESH                       # it may be short
    POSTPONED                   # until look_ms
    SETTLED

cdef enum:
    SETTLED_WITHIN_MS = 2000    # after the first deadline that it met
    POSTPONED_PART = 8          # of user_timeout, at most
    RESTS_AFTER_MS = 1000       # without a byte; before, a session that ends may be amid a transfer
    LOOKS_PER_TIMEOUT = 4
    LOOK_ROUNDED_MS = 256
    UNANSWERED_PROBES = 2
    PROBES_PER_TIMEOUT = 6
    PROBE_MS_MIN = 1000         # the kernel refuses less

cdef uint64_t NEVER = <uint64_t>-1


cdef bint check_deadlines(engine_t* e, session_t* s) noexcept nogil:
    cdef const listener_t* line = NULL
    cdef uint64_t quiet_ms = quiet_until(s)
    cdef uint64_t next_ms
    if s.listener < e.table.header.listeners_count:
        line = &e.table.listeners[s.listener]
    if e.now_ms >= quiet_ms:
        end_quiet(e, s)
        return False
    next_ms = quiet_ms
    if s.age_until_ms:
        if e.now_ms >= s.age_until_ms:
            expire(e, s, REASON_LIFETIME)
            return False
        next_ms = min(next_ms, s.age_until_ms)
    if s.first_byte_ns == 0 and not s.silent:
        next_ms = min(next_ms, await_first_byte(e, s))
    if line != NULL:
        if s.settled == FRESH:
            postpone(e, s, line)
        elif <int32_t>(<uint32_t>e.now_ms - s.look_ms) >= 0:
            if s.settled == POSTPONED:
                settle(e, s, line)
            if line.user_timeout_ms and not look(e, s, line.user_timeout_ms):
                return False
        if s.settled == POSTPONED or line.user_timeout_ms:
            next_ms = min(next_ms, e.now_ms + <uint32_t>(s.look_ms - <uint32_t>e.now_ms))
    if next_ms != NEVER:
        sooner(e, s, next_ms)
    return True


cdef uint64_t await_first_byte(engine_t* e, session_t* s) noexcept nogil:
    """When to look again. An endpoint that was asked and says nothing has failed; its session goes on."""
    cdef uint32_t timeout_ms = 0
    if s.pool < e.table.header.pools_count:  # it may have left the configuration
        timeout_ms = e.table.pools[s.pool].first_byte_timeout_ms
    if timeout_ms == 0:
        return NEVER
    if s.bytes_in == 0:  # nobody asked it yet
        return e.now_ms + timeout_ms
    if e.now_ms < s.active_ms + timeout_ms:
        return s.active_ms + timeout_ms
    s.silent = 1
    note_failure(e, s.endpoint, FAILED_SILENT)
    return NEVER


cdef void postpone(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """Sessions that came together are not all settled together: it would hold up the others."""
    cdef uint32_t within_ms = SETTLED_WITHIN_MS
    if line.user_timeout_ms:
        within_ms = min(within_ms, line.user_timeout_ms // POSTPONED_PART)
    s.settled = POSTPONED
    s.look_ms = <uint32_t>e.now_ms + <uint32_t>(<uint64_t>draw(e) * within_ms >> 32)


cdef void settle(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """What only a session needs that lives, 5 us: it costs a short one nothing."""
    cdef int side
    s.settled = SETTLED
    for side in range(2):
        keep_alive(s.side[side].fd, line, draw(e))
        bound_unsent(&s.side[side])


# ---- Quiet and age ----------------------------------------------------------------------------------

cdef uint64_t quiet_until(const session_t* s) noexcept nogil:
    """When the session ends if no byte moves."""
    cdef uint16_t flags = s.side[CLIENT].flags | s.side[UPSTREAM].flags
    if flags & FAILED:
        return s.active_ms + s.reset_linger_ms
    cdef uint32_t limit_ms = s.half_close_ms if flags & SHUT else s.idle_ms
    return s.active_ms + limit_ms if limit_ms else NEVER


cdef void end_quiet(engine_t* e, session_t* s) noexcept nogil:
    if s.side[CLIENT].flags & FAILED:
        pass_reset(e, s, CLIENT)
    elif s.side[UPSTREAM].flags & FAILED:
        pass_reset(e, s, UPSTREAM)
    elif (s.side[CLIENT].flags | s.side[UPSTREAM].flags) & SHUT:
        expire(e, s, REASON_HALF_CLOSE_TIMEOUT)
    else:
        expire(e, s, REASON_IDLE_TIMEOUT)


cdef void expire(engine_t* e, session_t* s, int reason) noexcept nogil:
    """An end of stream would say of bytes that are still kept, or on their way, that these were all."""
    if (has_kept(&s.side[CLIENT]) or has_kept(&s.side[UPSTREAM])
            or (reason == REASON_LIFETIME and e.now_ms - s.active_ms < RESTS_AFTER_MS)):
        cut(e, s, reason)
        return
    spare_port(&s.side[UPSTREAM])
    end(e, s, reason, BY_LB)


# ---- Peers that vanish ------------------------------------------------------------------------------

cdef enum seen_t:
    SEEN_NOTHING                # everything was acknowledged
    SEEN_WAITING                # something is outstanding
    SEEN_VANISHED


cdef bint look(engine_t* e, session_t* s, uint32_t timeout_ms) noexcept nogil:
    """False: a peer has vanished, and the session is no longer RELAYING."""
    cdef uint32_t now_ms = <uint32_t>e.now_ms
    cdef seen_t seen
    cdef bint proven = True
    cdef int side
    s.look_ms = <uint32_t>next_look(e.now_ms, timeout_ms)
    if s.proven_ms and <int32_t>(<uint32_t>s.active_ms - s.proven_ms) < 0:
        return True
    for side in range(2):
        if s.side[side].flags & BROKEN:
            continue
        seen = look_at(e, s, side, timeout_ms)
        if seen == SEEN_VANISHED:
            reset_at_close(s.side[side].fd)  # else its kernel would go on sending
            return lose(e, s, side)
        if seen == SEEN_WAITING:
            proven = False
        if s.suspect_ms[side]:
            s.look_ms = sooner_of(s.look_ms, s.suspect_ms[side] + vanished_after(timeout_ms), now_ms)
    s.proven_ms = now_ms if proven else 0
    return True


cdef seen_t look_at(engine_t* e, session_t* s, int side, uint32_t timeout_ms) noexcept nogil:
    cdef uint32_t now_ms = <uint32_t>e.now_ms
    cdef int fd = s.side[side].fd
    cdef uint32_t before_ms = s.suspect_ms[side]
    cdef int outstanding = 0
    cdef tcp_info_t info
    cdef socklen_t size = sizeof(info)
    s.suspect_ms[side] = 0
    if ioctl(fd, SIOCOUTQ, &outstanding) == -1 or outstanding == 0:
        return SEEN_NOTHING
    if getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == -1:  # a unix socket, whose peer cannot vanish
        return SEEN_WAITING
    if info.tcpi_backoff:  # it stands still
        s.side[side].flags &= ~TRUSTED
        bound_unsent(&s.side[side])
        set_option(fd, IPPROTO_TCP, TCP_RTO_MAX_MS,
                   max(timeout_ms // PROBES_PER_TIMEOUT, <uint32_t>PROBE_MS_MIN))
    if info.tcpi_retransmits == 0 and info.tcpi_probes < UNANSWERED_PROBES:
        return SEEN_WAITING
    if before_ms == 0 or info.tcpi_last_ack_recv < now_ms - before_ms:
        s.suspect_ms[side] = now_ms | 1
        return SEEN_WAITING
    s.suspect_ms[side] = before_ms
    return SEEN_VANISHED if now_ms - before_ms >= vanished_after(timeout_ms) else SEEN_WAITING


cdef uint32_t vanished_after(uint32_t timeout_ms) noexcept nogil:
    """How long a peer must have been suspect."""
    return timeout_ms - timeout_ms // LOOKS_PER_TIMEOUT


cdef uint64_t next_look(uint64_t now_ms, uint32_t timeout_ms) noexcept nogil:
    cdef uint64_t at_ms = (now_ms + timeout_ms // LOOKS_PER_TIMEOUT) & ~<uint64_t>(LOOK_ROUNDED_MS - 1)
    return at_ms if at_ms > now_ms else at_ms + LOOK_ROUNDED_MS


cdef uint32_t sooner_of(uint32_t one_ms, uint32_t other_ms, uint32_t now_ms) noexcept nogil:
    """The earlier of two times (low halves) that are not before now."""
    return one_ms if one_ms - now_ms <= other_ms - now_ms else other_ms
