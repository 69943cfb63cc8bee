# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The ways out of a session. Each ends in end(), which leaves exactly one record.

Facts
  1  close() with SO_LINGER 0 throws away what send() accepted; so a reset waits until SIOCOUTQ says 0, polled
     by the wheel (1 ms, doubling to 100 ms), at most reset_linger.
  2  close() with unread bytes sends a reset. When both ends of stream were read nothing is unread.
  3  A socket in TCP_REPAIR is closed without a packet, which takes CAP_NET_ADMIN. Without it a refusal in
     silence is a reset that lives for one hop: whoever is on this network hears it, and nobody beyond.
  4  A unix socket has no reset. What it was sent can be read after it was closed; then its peer sees an end
     of stream, or ECONNRESET if we had not read all that it sent.
  5  Who ends its stream first keeps the port for 60 s more (TIME_WAIT). Measured, lb's port towards the
     endpoint: the client ended first, 20 of 20 sessions keep it; the endpoint ended first, none; both at
     once, about half. No reset could spare it: the kernel goes there when the endpoint's end arrives, before
     we know of it. Where lb itself ends a session that rests (idle, age, half-close), a reset towards the
     endpoint does: 0 of 20, where an end of stream keeps all. It is sent if everything was acknowledged and
     the endpoint has not ended its stream. (net.ipv4.tcp_tw_reuse = 1 lets the kernel use such ports again.)

Rejected: forwarding a reset at once (it loses delivered bytes); FIN in its place (it hides truncation).
"""
from lb._ext.board cimport *
from lb._ext.debug cimport close_owned, count_down, count_down_long
from lb._ext.gate cimport leave_source
from lb._ext.linux cimport *
from lb._ext.options cimport reset_at_close, silence_at_close
from lb._ext.pump cimport *
from lb._ext.queue cimport leave_queue
from lb._ext.record cimport note_addresses, put_record
from lb._ext.retries cimport stop_retrying
from lb._ext.slab cimport give_block, give_details, give_slot
from lb._ext.state cimport *
from lb._ext.table cimport REFUSE_BY_CLOSE, REFUSE_BY_SILENCE, listener_t
from lb._ext.transitions cimport become
from lb._ext.want cimport stop_starving
from lb._ext.wheel cimport clear_deadline, set_deadline

cdef enum:
    LINGER_FIRST_MS = 1
    LINGER_STEP_MS_MAX = 100
    READS_MAX = 4               # 64 KiB: what a client sends before it waits for an answer


cdef void pass_reset(engine_t* e, session_t* s, int source) noexcept nogil:
    s.reason = loss_of(&s.side[source], source)
    s.closer = BY_CLIENT if source == CLIENT else BY_ENDPOINT
    reset_at_close(s.side[source].fd)  # if it lives after all, it must not take what it got for complete
    start_linger(e, s, 1 - source, True)


cdef int loss_of(side_t* here, int side) noexcept nogil:
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if here.flags & FAILED and here.fd != -1:
        getsockopt(here.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        note_error(here, error)
    if here.flags & VANISHED:
        return REASON_CLIENT_VANISHED if side == CLIENT else REASON_ENDPOINT_VANISHED
    return REASON_CLIENT_RESET if side == CLIENT else REASON_ENDPOINT_RESET


cdef void start_linger(engine_t* e, session_t* s, int side, bint reset) noexcept nogil:
    note_addresses(e, s)
    close_side(e, &s.side[1 - side])
    become(s, LINGERING)
    s.linger_side, s.linger_reset = side, reset
    s.linger_until_ms = e.now_ms + s.reset_linger_ms
    s.linger_wait_ms = LINGER_FIRST_MS
    linger(e, s)


cdef void linger(engine_t* e, session_t* s) noexcept nogil:
    cdef side_t* here = &s.side[s.linger_side]
    cdef pumped_t outcome = (PUMP_TAKER_RESET if here.flags & FAILED
                             else flush(e, here) if has_kept(here) else PUMP_FINISHED)
    cdef int unacknowledged = 0
    if outcome == PUMP_WAITS or outcome == PUMP_STOPPED:
        unacknowledged = 1
    elif outcome == PUMP_FINISHED:
        if not s.linger_reset and not here.flags & SHUT:
            here.flags |= SHUT
            shutdown(here.fd, SHUT_WR)
        if ioctl(here.fd, SIOCOUTQ, &unacknowledged) == -1:
            unacknowledged = 0
    if unacknowledged <= 0 or e.now_ms >= s.linger_until_ms:
        if s.linger_reset:
            reset_at_close(here.fd)
        end(e, s, s.reason, s.closer)
        return
    set_deadline(e, s, min(e.now_ms + s.linger_wait_ms, s.linger_until_ms))
    s.linger_wait_ms = min(2 * s.linger_wait_ms, <uint32_t>LINGER_STEP_MS_MAX)


cdef void spare_port(side_t* upstream) noexcept nogil:
    cdef int unacknowledged = 1
    if upstream.flags & (ENDED | FINISHED):  # the endpoint was first: the waiting is its own
        return
    if ioctl(upstream.fd, SIOCOUTQ, &unacknowledged) == 0 and unacknowledged == 0:
        reset_at_close(upstream.fd)


cdef void refuse(engine_t* e, session_t* s, const listener_t* line, int reason) noexcept nogil:
    """Before anything was sent to it or for it. What it sends afterwards the kernel answers with a reset,
    whatever was chosen: the socket is gone, and nothing is kept of a client that is not wanted."""
    cdef int fd = s.side[CLIENT].fd
    if line.refuse_by == REFUSE_BY_CLOSE:
        shutdown(fd, SHUT_WR)
        read_off(e, fd)
    elif line.refuse_by == REFUSE_BY_SILENCE:
        silence_at_close(fd)
    else:
        reset_at_close(fd)
    end(e, s, reason, BY_LB)


cdef void read_off(engine_t* e, int fd) noexcept nogil:
    """See fact 2. More than READS_MAX blocks are left, and the client is reset."""
    cdef int _
    for _ in range(READS_MAX):
        if recv(fd, e.buffer, BLOCK_BYTES, 0) < BLOCK_BYTES:
            return


cdef void cut(engine_t* e, session_t* s, int reason) noexcept nogil:
    reset_at_close(s.side[CLIENT].fd)
    reset_at_close(s.side[UPSTREAM].fd)
    end(e, s, reason, BY_LB)


cdef void end(engine_t* e, session_t* s, int reason, int closer) noexcept nogil:
    """The one way out: closes, counts, records, and gives the slot back."""
    cdef listener_cell_t* cell = &e.listeners[s.listener]
    s.reason, s.closer = reason, closer
    cell.closed[reason] += 1
    observe(&cell.session, slow_bounds_us, (e.now_ns - s.accepted_ns) // 1000)
    if s.state == QUEUED:
        leave_queue(e, s)
    if s.connected_ns and s.first_byte_ns == 0:
        judge_speechless(e, s, reason)
    put_record(e, s)
    release(e, s)  # before its client can see the end, and come again by another worker
    if s.source != NONE:
        leave_source(e, s)
    stop_retrying(e, s)
    stop_starving(e, s)
    give_opening(e, s)
    if s.details != NULL:
        give_details(e, s.details)
        s.details = NULL
    count_down(&e.listener_open[s.listener])
    count_down_long(&e.cell.sessions_open)
    e.room_made = True
    close_side(e, &s.side[UPSTREAM])
    close_side(e, &s.side[CLIENT])
    clear_deadline(e, s)
    become(s, FREE)
    if not s.ready:  # else the ready list gives the slot back when it comes to it
        give_slot(e, s)


cdef void judge_speechless(engine_t* e, session_t* s, int reason) noexcept nogil:
    """It ends without a byte from its endpoint, which may be as it should: some only take. One that asked
    nothing proves nothing good, and one whose client has ended nothing bad. Of one that lingered the endpoint
    may be gone."""
    cdef uint32_t* in_row = &e.board.failed_in_row[s.endpoint]
    if not s.counted:
        return
    if reason == REASON_ENDPOINT_RESET:
        if not s.side[CLIENT].flags & (ENDED | FINISHED):
            note_failure(e, s.endpoint, FAILED_EARLY_RESET)
    elif reason == REASON_DONE and s.bytes_in and not s.silent and load_acquire_32(in_row):
        store_release_32(in_row, 0)


cdef void note_failure(engine_t* e, uint32_t endpoint, int failure) noexcept nogil:
    cdef uint32_t* counts = e.failures + <size_t>endpoint * FAILURES
    cdef uint32_t sum = 0
    cdef int i
    e.endpoints[endpoint].failures[failure] += 1
    if failure == FAILED_LOCAL:
        return
    for i in range(FAILURES):
        sum += counts[i]
    if sum == 0:
        e.failed[e.failed_count] = endpoint
        e.failed_count += 1
    counts[failure] += 1
    e.in_row[endpoint] = max(e.in_row[endpoint], fetch_and_count_32(&e.board.failed_in_row[endpoint]) + 1)


cdef void close_side(engine_t* e, side_t* here) noexcept nogil:
    drop_kept(e, here)
    if here.fd != -1:
        close_owned(here.fd)
        here.fd = -1
        count_down(&e.descriptors_open)


cdef void release(engine_t* e, session_t* s) noexcept nogil:
    if s.counted:
        count_down(&e.open[s.endpoint])
        count_down(&e.pools[s.pool].sessions_open)
        e.room_made = True
    s.counted = 0


cdef void give_opening(engine_t* e, session_t* s) noexcept nogil:
    if s.opening != NULL:
        give_block(e, s.opening)
        s.opening = NULL


cdef void sooner(engine_t* e, session_t* s, uint64_t deadline_ms) noexcept nogil:
    """The wheel's entry is moved only to an earlier time; a later one is seen to when it is due."""
    if s.wheel_place == NONE or deadline_ms < s.deadline_ms:
        set_deadline(e, s, deadline_ms)
