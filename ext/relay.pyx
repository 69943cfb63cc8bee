# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The relay. Theory of operation.

A session is CONNECTING (accepted, an endpoint picked), then RELAYING, and may end by LINGERING.

    accept -> CONNECTING -> RELAYING -> end           both ends of stream were passed on
                  |  ^          |-----> LINGERING     one side was reset, or half_close is 0: what the other
                  |__|          |          |          was sent must be acknowledged before it is closed
              another endpoint  |          v
                  |             |-----> end           a deadline, an order
                  v
                 end                                  no endpoint, no attempt left

Facts
  1  A failed connect has cost the client nothing: no byte was read from it. So it is tried again elsewhere.
  2  close() with SO_LINGER 0 throws away what send() accepted; so a reset waits until SIOCOUTQ says 0, polled
     by the wheel (1 ms, doubling to 100 ms), at most reset_linger.
  3  close() with unread bytes sends a reset. When both ends of stream were read nothing is unread.
  4  A socket must be added to the epoll set after connect(): before it would report HUP.
  5  Keepalive matters only to a session that lives: it is set when the wheel first meets the session.

Rejected: forwarding a reset at once (it loses delivered bytes); FIN in its place (it hides truncation).
"""
from lb._ext.board cimport *
from lb._ext.linux cimport *
from lb._ext.options cimport acknowledge_late, acknowledge_soon, keep_alive, reset_at_close, set_upstream
from lb._ext.pick cimport PICK_FULL, PICK_NONE, draw, pick
from lb._ext.pump cimport *
from lb._ext.record cimport note_addresses, put_record
from lb._ext.slab cimport give_slot, take_slot
from lb._ext.state cimport *
from lb._ext.table cimport endpoint_t, listener_t, pool_t
from lb._ext.wheel cimport clear_deadline, set_deadline

cdef enum:
    RESUME_AFTER_MS = 100       # paused listening sockets are tried again, room or not
    LINGER_FIRST_MS = 1
    LINGER_STEP_MS_MAX = 100
    CONNECTED = FAILURES        # of an attempt: it did not fail
    UNFINISHED = FAILURES + 1   # of an attempt: the session ended meanwhile
    INTEREST = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP


# ---- Accepting --------------------------------------------------------------------------------------

cdef void welcome(engine_t* e, listening_t* here) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[here.listener]
    cdef session_t* s
    cdef socklen_t size
    cdef int _, fd
    for _ in range(ACCEPTS_MAX):
        s = take_slot(e) if has_room(e, here.listener) else NULL
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
    s.idle_ms, s.half_close_ms, s.reset_linger_ms = line.idle_ms, line.half_close_ms, line.reset_linger_ms
    s.accepted_ns, s.active_ms = e.now_ns, e.now_ms
    e.cell.sessions_open += 1
    e.board.listener_open[<size_t>listener * WORKERS_MAX + e.worker] += 1
    e.listeners[listener].sessions_total += 1
    s.state = CONNECTING
    if not watch(e, s, CLIENT):
        cut(e, s, REASON_LB_ERROR)
        return
    connect_somewhere(e, s)


cdef bint watch(engine_t* e, session_t* s, int side) noexcept nogil:
    cdef epoll_event event
    event.events = INTEREST | <uint32_t>EPOLLET
    event.data.u64 = <uint64_t>s.generation << 32 | <uint64_t>(s.index << 1 | side)
    return epoll_ctl(e.epfd, EPOLL_CTL_ADD, s.side[side].fd, &event) == 0


# ---- Connecting -------------------------------------------------------------------------------------

cdef void connect_somewhere(engine_t* e, session_t* s) noexcept nogil:
    """Starts an attempt at the next endpoint; ends the session when none is left."""
    cdef const pool_t* pool
    cdef uint32_t endpoint = PICK_NONE
    if s.listener >= e.table.header.listeners_count or not e.table.listeners[s.listener].present:
        cut(e, s, REASON_LB_ERROR)  # its line has left before it: the supervisor promised otherwise
        return
    pool = &e.table.pools[e.table.listeners[s.listener].pool]
    while s.attempts < pool.attempts_max:
        endpoint = pick(e, pool, s)
        if endpoint == PICK_NONE or endpoint == PICK_FULL:
            break
        hold(e, s, endpoint)
        if connect_to(e, s, &e.table.endpoints[endpoint]):
            set_deadline(e, s, e.now_ms + pool.connect_timeout_ms)
            return
        attempt_failed(e, s, failure_of(errno))
    if s.attempts:
        cut(e, s, REASON_CONNECT_FAILED if blameless(s) else REASON_LB_ERROR)
    else:
        cut(e, s, REASON_REFUSED_LIMIT if endpoint == PICK_FULL else REASON_NO_ENDPOINT)


cdef bint blameless(const session_t* s) noexcept nogil:
    """Whether some attempt failed for another reason than ours."""
    cdef int i
    for i in range(s.attempts):
        if s.results[i] != FAILED_LOCAL:
            return True
    return False


cdef void hold(engine_t* e, session_t* s, uint32_t endpoint) noexcept nogil:
    s.endpoint, s.counted = endpoint, 1
    s.tried[s.attempts], s.results[s.attempts] = endpoint, UNFINISHED
    s.attempts += 1
    e.board.endpoint_open[<size_t>endpoint * WORKERS_MAX + e.worker] += 1


cdef void release(engine_t* e, session_t* s) noexcept nogil:
    if s.counted:
        e.board.endpoint_open[<size_t>s.endpoint * WORKERS_MAX + e.worker] -= 1
    s.counted = 0


cdef bint connect_to(engine_t* e, session_t* s, const endpoint_t* endpoint) noexcept nogil:
    """False, with errno set: it failed at once."""
    cdef int fd = socket(endpoint.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd == -1:
        return False
    e.descriptors_open += 1
    s.side[UPSTREAM].fd = fd
    s.side[UPSTREAM].flags = 0
    set_upstream(fd)
    s.connect_from_ns = e.now_ns
    s.acknowledges_late = acknowledge_late(s.side[CLIENT].fd, fd)
    if connect(fd, &endpoint.address.any, address_size(&endpoint.address)) == -1 and errno != EINPROGRESS:
        return False
    return watch(e, s, UPSTREAM)


cdef int failure_of(int error) noexcept nogil:
    if error == ECONNREFUSED:
        return FAILED_REFUSED
    if error == ETIMEDOUT:
        return FAILED_TIMEOUT
    if error in (EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENONET, ENOPROTOOPT):  # what ICMP can say
        return FAILED_UNREACHABLE
    if error == ECONNRESET or error == EPIPE or error == ECONNABORTED:
        return FAILED_RESET
    return FAILED_LOCAL


cdef void attempt_failed(engine_t* e, session_t* s, int failure) noexcept nogil:
    cdef uint32_t endpoint = s.endpoint
    cdef uint32_t* counts = e.failures + <size_t>endpoint * FAILURES
    cdef uint32_t sum = 0
    cdef int i
    s.results[s.attempts - 1] = failure
    e.endpoints[endpoint].failures[failure] += 1
    if failure != FAILED_LOCAL:
        for i in range(FAILURES):
            sum += counts[i]
        if sum == 0:
            e.failed[e.failed_count] = endpoint
            e.failed_count += 1
        counts[failure] += 1
    close_side(e, &s.side[UPSTREAM])
    release(e, s)
    s.endpoint = NONE


cdef void on_connecting(engine_t* e, session_t* s, uint32_t events) noexcept nogil:
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if events & (EPOLLERR | EPOLLHUP):
        getsockopt(s.side[UPSTREAM].fd, SOL_SOCKET, SO_ERROR, &error, &size)
        if error:  # also a reset after the handshake: nothing was sent yet, so another may have it
            attempt_failed(e, s, failure_of(error))
            connect_somewhere(e, s)
            return
    if events & EPOLLOUT:
        connected(e, s)


cdef void connected(engine_t* e, session_t* s) noexcept nogil:
    cdef endpoint_cell_t* cell = &e.endpoints[s.endpoint]
    s.state = RELAYING
    s.results[s.attempts - 1] = CONNECTED
    s.connected_ns, s.active_ms = e.now_ns, e.now_ms
    cell.sessions_total += 1
    observe(&cell.connect, fast_bounds_us, (s.connected_ns - s.connect_from_ns) // 1000)
    if s.idle_ms:
        sooner(e, s, e.now_ms + s.idle_ms)
    go_on(e, s)
    if s.acknowledges_late and s.state == RELAYING:
        acknowledge_soon(s.side[UPSTREAM].fd)


cdef void sooner(engine_t* e, session_t* s, uint64_t deadline_ms) noexcept nogil:
    """The wheel's entry is moved only to an earlier time; a later one is seen to when it is due."""
    if s.wheel_place == NONE or deadline_ms < s.deadline_ms:
        set_deadline(e, s, deadline_ms)


# ---- Relaying ---------------------------------------------------------------------------------------

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
        if events & EPOLLERR:  # what came before is still handed on, but a reader that stopped is not awaited
            sooner(e, s, e.now_ms + s.reset_linger_ms)
        if e.moved_bytes >= e.moved_until:
            queue_ready(e, s)
            return
        if events & EPOLLOUT and has_kept(here) and not relay(e, s, 1 - side, True):
            return
        if here.flags & READABLE:
            relay(e, s, side, False)
    elif s.state == CONNECTING:
        if side == UPSTREAM:
            on_connecting(e, s, events)
        elif events & EPOLLERR:
            end(e, s, REASON_CLIENT_RESET, BY_CLIENT)
    elif s.state == LINGERING and side == s.linger_side:
        linger(e, s)


cdef void go_on(engine_t* e, session_t* s) noexcept nogil:
    if s.state == LINGERING:
        linger(e, s)
    elif s.state == RELAYING and relay(e, s, CLIENT, True):
        relay(e, s, UPSTREAM, True)


cdef bint relay(engine_t* e, session_t* s, int source, bint may_flush) noexcept nogil:
    """Pumps one direction. False: the session is no longer RELAYING."""
    cdef side_t* giver = &s.side[source]
    cdef side_t* taker = &s.side[1 - source]
    cdef pumped_t outcome
    cdef uint64_t before
    if taker.flags & (BROKEN | SHUT) or (has_kept(taker) and not may_flush):
        # What a side sends after its own end was passed on is an error, or nothing.
        return check_failed(e, s, source) if taker.flags & SHUT else True
    before = s.bytes_in + s.bytes_out
    outcome = pump(e, s, source)
    if s.bytes_in + s.bytes_out != before:
        count_bytes(e, s, source, s.bytes_in + s.bytes_out - before)
    if outcome == PUMP_WAITS:
        return True
    if outcome == PUMP_STOPPED:
        queue_ready(e, s)
        return True
    if outcome == PUMP_FINISHED and not giver.flags & BROKEN:
        return pass_end(e, s, source)
    if outcome == PUMP_TAKER_RESET:
        return salvage(e, s, 1 - source)
    if outcome == PUMP_NO_MEMORY:
        cut(e, s, REASON_LB_ERROR)
    else:
        pass_reset(e, s, source)
    return False


cdef void count_bytes(engine_t* e, session_t* s, int source, uint64_t size) noexcept nogil:
    cdef endpoint_cell_t* cell = &e.endpoints[s.endpoint]
    if source == CLIENT:
        cell.bytes_in += size
        return
    cell.bytes_out += size
    if s.first_byte_ns == 0:
        s.first_byte_ns = e.now_ns
        observe(&cell.first_byte, fast_bounds_us, (e.now_ns - s.connected_ns) // 1000)


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
    if s.side[1 - broken].flags & BROKEN:
        end(e, s, REASON_CLIENT_RESET if broken == UPSTREAM else REASON_ENDPOINT_RESET,
            BY_CLIENT if broken == UPSTREAM else BY_ENDPOINT)  # the other was first
        return False
    here.flags |= BROKEN | READABLE
    if s.side[1 - broken].flags & SHUT:
        pass_reset(e, s, broken)
        return False
    return relay(e, s, broken, True)


cdef void queue_ready(engine_t* e, session_t* s) noexcept nogil:
    if s.queued:
        return
    s.queued, s.next_ready = 1, NONE
    if e.ready_last == NONE:
        e.ready_first = s.index
    else:
        e.slots[e.ready_last].next_ready = s.index
    e.ready_last = s.index


# ---- Ending -----------------------------------------------------------------------------------------

cdef void pass_reset(engine_t* e, session_t* s, int source) noexcept nogil:
    if source == CLIENT:
        s.reason, s.closer = REASON_CLIENT_RESET, BY_CLIENT
    else:
        s.reason, s.closer = REASON_ENDPOINT_RESET, BY_ENDPOINT
    start_linger(e, s, 1 - source, True)


cdef void start_linger(engine_t* e, session_t* s, int side, bint reset) noexcept nogil:
    note_addresses(e, s)
    close_side(e, &s.side[1 - side])
    s.state, s.linger_side, s.linger_reset = LINGERING, side, reset
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
    if s.local.any.sa_family == 0:
        note_addresses(e, s)
    put_record(e, s)
    release(e, s)  # before its client can see the end, and come again by another worker
    e.board.listener_open[<size_t>s.listener * WORKERS_MAX + e.worker] -= 1
    e.cell.sessions_open -= 1
    e.room_made = True
    close_side(e, &s.side[UPSTREAM])
    close_side(e, &s.side[CLIENT])
    clear_deadline(e, s)
    if s.queued:
        s.state = FREE  # the ready list gives the slot back when it comes to it
    else:
        give_slot(e, s)


cdef void close_side(engine_t* e, side_t* here) noexcept nogil:
    drop_kept(e, here)
    if here.fd != -1:
        close(here.fd)
        here.fd = -1
        e.descriptors_open -= 1


# ---- Deadlines --------------------------------------------------------------------------------------

cdef void on_deadline(engine_t* e, session_t* s) noexcept nogil:
    if s.state == RELAYING:
        check_idle(e, s)
    elif s.state == LINGERING:
        linger(e, s)
    elif s.state == CONNECTING:
        attempt_failed(e, s, FAILED_TIMEOUT)
        connect_somewhere(e, s)


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
