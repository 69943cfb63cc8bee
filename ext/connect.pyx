# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Connecting: one attempt after the other, until an endpoint answers or none is left.

Facts
  1  A failed attempt has cost the client nothing: no byte was read from it. So it is tried again elsewhere.
  2  A socket must be added to the epoll set after connect(): before it would report HUP.
  3  Want of a descriptor, a port or memory is ours: no endpoint is charged with it (want.pyx).
  4  The port of a bound source is chosen by connect() (IP_BIND_ADDRESS_NO_PORT): the same one does for any
     number of endpoints. EADDRNOTAVAIL speaks of that source alone: of connect(), that it has no port left
     for this endpoint, which passes; of bind(), that this machine has no such address, which does not.
  5  A unix socket answers connect() at once. EAGAIN: its queue is full, and nothing will ever tell that it is
     no longer; where TCP would send another SYN, another endpoint is tried.
"""
from libc.stdint cimport uint8_t

from lb._ext.board cimport *
from lb._ext.cost cimport connect_failed, connect_took, weighs_costs
from lb._ext.ending cimport close_side, cut, give_opening, note_failure, refuse, release, sooner
from lb._ext.introduction cimport introduce
from lb._ext.linux cimport *
from lb._ext.options cimport (
    acknowledge_late, acknowledge_soon, set_option, set_upstream, set_upstream_file,
)
from lb._ext.pick cimport PICK_FULL, PICK_NONE, pick
from lb._ext.queue cimport enqueue, leave_queue, somebody_waits
from lb._ext.relay cimport go_on_relaying
from lb._ext.retries cimport is_local, may_retry, stop_retrying
from lb._ext.state cimport *
from lb._ext.table cimport endpoint_t, pool_t
from lb._ext.transitions cimport become
from lb._ext.want cimport WANT_ANYTHING, WANT_NOTHING, starve, stop_starving, want_of, want_t
from lb._ext.watch cimport watch
from lb._ext.wheel cimport set_deadline

cdef enum:
    CONNECTED = FAILURES        # of an attempt: it did not fail
    UNFINISHED = FAILURES + 1   # of an attempt: the session ended meanwhile


cdef void connect_somewhere(engine_t* e, session_t* s) noexcept nogil:
    """Starts an attempt at the next endpoint; ends the session when none is left."""
    cdef const pool_t* pool
    cdef uint32_t endpoint = PICK_NONE
    cdef want_t want = WANT_NOTHING
    cdef int error
    if not has_line(e, s):
        cut(e, s, REASON_LB_ERROR)
        return
    set_pool(e, s, e.table.listeners[s.listener].pool)
    pool = &e.table.pools[s.pool]
    if pool.queue_max and s.state != QUEUED and not s.had_turn and somebody_waits(e, s.pool):
        if not enqueue(e, s, pool):
            turn_away(e, s, REASON_REFUSED_LIMIT)
        return
    while s.attempts < pool.attempts_max:
        endpoint = pick(e, pool, s)
        if endpoint == PICK_NONE or endpoint == PICK_FULL or (s.attempts and not may_retry(e, s, pool)):
            break
        if s.state == QUEUED:
            leave_queue(e, s)
        become(s, CONNECTING)
        hold(e, s, endpoint)
        s.introduction = <uint8_t>pool.send_proxy
        if connect_to(e, s, pool, &e.table.endpoints[endpoint]):
            set_deadline(e, s, e.now_ms + pool.connect_timeout_ms)
            return
        error = errno
        want = max(want, want_of(error))
        attempt_failed(e, s, failure_of(error))
        if want == WANT_ANYTHING:
            break
    if want != WANT_NOTHING and starve(e, s):
        return
    if endpoint == PICK_FULL and (s.state == QUEUED or enqueue(e, s, pool)):
        return
    if s.attempts:
        cut(e, s, REASON_LB_ERROR if is_local(s) else REASON_CONNECT_FAILED)
    elif endpoint == PICK_FULL:
        turn_away(e, s, REASON_REFUSED_LIMIT)
    else:
        cut(e, s, REASON_NO_ENDPOINT)


cdef void set_pool(engine_t* e, session_t* s, uint32_t pool) noexcept nogil:
    """Another one than that it waits for, since the last reload."""
    if s.pool != pool:
        if s.state == QUEUED:
            leave_queue(e, s)
        s.hashed = 0
    s.pool = pool


cdef void turn_away(engine_t* e, session_t* s, int reason) noexcept nogil:
    if has_line(e, s):
        refuse(e, s, &e.table.listeners[s.listener], reason)
    else:
        cut(e, s, reason)


cdef bint has_line(const engine_t* e, const session_t* s) noexcept nogil:
    """Its listener's line has not left before it: the supervisor promised that."""
    return s.listener < e.table.header.listeners_count and e.table.listeners[s.listener].present


cdef void connect_again(engine_t* e, session_t* s) noexcept nogil:
    stop_starving(e, s)
    become(s, CONNECTING)
    connect_somewhere(e, s)


cdef void try_elsewhere(engine_t* e, session_t* s) noexcept nogil:
    s.attempts -= 1
    leave_endpoint(e, s)
    connect_somewhere(e, s)


# ---- An attempt -------------------------------------------------------------------------------------

cdef void hold(engine_t* e, session_t* s, uint32_t endpoint) noexcept nogil:
    s.endpoint, s.counted, s.had_turn = endpoint, 1, 1
    s.connect_from_ns = e.now_ns
    s.tried[s.attempts], s.results[s.attempts] = endpoint, UNFINISHED
    s.attempts += 1
    e.open[endpoint] += 1
    e.pools[s.pool].sessions_open += 1


cdef bint connect_to(engine_t* e, session_t* s, const pool_t* pool,
                     const endpoint_t* endpoint) noexcept nogil:
    """False, with errno set: it failed at once."""
    if endpoint.address.ip.any.sa_family == AF_UNIX:
        return connect_to_file(e, s, endpoint)
    if pool.sources_count:
        return connect_from_next(e, s, pool, endpoint)
    return connect_from(e, s, endpoint, NULL)


cdef bint connect_from_next(engine_t* e, session_t* s, const pool_t* pool,
                            const endpoint_t* endpoint) noexcept nogil:
    """From the next of the pool's hosts; from those after it where that cannot be. None is of the endpoint's
    family: from what the kernel chooses."""
    cdef int family = endpoint.address.ip.any.sa_family
    cdef uint32_t count = sources_of(e, pool, family)
    cdef uint32_t turn = e.source_turns[s.pool]
    cdef uint32_t i
    cdef int error = ENODEV
    if count == 0:
        return connect_from(e, s, endpoint, NULL)
    e.source_turns[s.pool] += 1
    for i in range(count):
        close_side(e, &s.side[UPSTREAM])
        if connect_from(e, s, endpoint, source_of(e, pool, family, (turn + i) % count)):
            return True
        if errno == EADDRNOTAVAIL:
            error = EADDRNOTAVAIL
        elif errno != ENODEV:
            return False
    set_errno(error)
    return False


cdef uint32_t sources_of(const engine_t* e, const pool_t* pool, int family) noexcept nogil:
    cdef uint32_t i, count = 0
    for i in range(pool.sources_count):
        count += e.table.hosts[pool.sources_first + i].any.sa_family == family
    return count


cdef const address_t* source_of(const engine_t* e, const pool_t* pool, int family,
                                uint32_t nth) noexcept nogil:
    """Of this family; `nth` counts from 0, and is less than there are."""
    cdef const address_t* host = &e.table.hosts[pool.sources_first]
    cdef uint32_t i
    for i in range(pool.sources_count):
        if host[i].any.sa_family == family:
            if nth == 0:
                return &host[i]
            nth -= 1
    return NULL


cdef bint connect_from(engine_t* e, session_t* s, const endpoint_t* endpoint,
                       const address_t* source) noexcept nogil:
    """`source` NULL: what the kernel chooses."""
    cdef int fd = socket(endpoint.address.ip.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd == -1:
        return False
    e.descriptors_open += 1
    s.side[UPSTREAM].fd = fd
    s.side[UPSTREAM].flags = 0
    set_upstream(fd)
    if source != NULL:
        set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if bind(fd, &source.any, address_size(source)) == -1:
            if errno == EADDRNOTAVAIL:
                set_errno(ENODEV)
            return False
    s.connect_from_ns = e.now_ns
    s.acknowledges_late = acknowledge_late(s.side[CLIENT].fd, fd)
    if connect(fd, &endpoint.address.ip.any, place_size(&endpoint.address)) == -1 and errno != EINPROGRESS:
        return False
    return watch(e, s, UPSTREAM)


cdef bint connect_to_file(engine_t* e, session_t* s, const endpoint_t* endpoint) noexcept nogil:
    """What the path or its queue lacks is put in the words of TCP: it is the endpoint's, not ours."""
    cdef int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd == -1:
        return False
    e.descriptors_open += 1
    s.side[UPSTREAM].fd = fd
    s.side[UPSTREAM].flags = UNSURE
    set_upstream_file(fd)
    s.connect_from_ns, s.acknowledges_late = e.now_ns, 0
    if connect(fd, &endpoint.address.ip.any, place_size(&endpoint.address)) == -1:
        if errno == EAGAIN or errno == ENOENT or errno == EPROTOTYPE:
            set_errno(ECONNREFUSED)
        elif errno in (EACCES, EPERM, ENOTDIR, ELOOP):
            set_errno(EHOSTUNREACH)
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
    s.results[s.attempts - 1] = failure
    note_failure(e, s.endpoint, failure)
    if failure != FAILED_LOCAL and weighs_costs(e, s):
        connect_failed(e, s)
    leave_endpoint(e, s)


cdef void leave_endpoint(engine_t* e, session_t* s) noexcept nogil:
    close_side(e, &s.side[UPSTREAM])
    release(e, s)
    stop_retrying(e, s)
    s.endpoint = NONE


cdef void on_connecting(engine_t* e, session_t* s, uint32_t events) noexcept nogil:
    cdef int error = 0
    cdef socklen_t size = sizeof(error)
    if events & (EPOLLERR | EPOLLHUP):
        if getsockopt(s.side[UPSTREAM].fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1:
            error = errno
        if error:  # also a reset after the handshake: nothing was sent yet, so another may have it
            attempt_failed(e, s, failure_of(error))
            connect_somewhere(e, s)
            return
    if events & EPOLLOUT:
        connected(e, s)


cdef void connected(engine_t* e, session_t* s) noexcept nogil:
    cdef endpoint_cell_t* cell = &e.endpoints[s.endpoint]
    if s.introduction and not introduced(e, s):
        return
    become(s, RELAYING)
    s.results[s.attempts - 1] = CONNECTED
    s.connected_ns, s.active_ms = e.now_ns, e.now_ms
    cell.sessions_total += 1
    stop_retrying(e, s)
    observe(&cell.connect, fast_bounds_us, (s.connected_ns - s.connect_from_ns) // 1000)
    if weighs_costs(e, s):
        connect_took(e, s)
    if s.idle_ms:
        sooner(e, s, e.now_ms + s.idle_ms)
    if s.age_until_ms:
        sooner(e, s, s.age_until_ms)
    if e.table.pools[s.pool].first_byte_timeout_ms:
        sooner(e, s, e.now_ms + e.table.pools[s.pool].first_byte_timeout_ms)
    go_on_relaying(e, s)
    if s.acknowledges_late and s.state == RELAYING:
        acknowledge_soon(s.side[UPSTREAM].fd)


cdef bint introduced(engine_t* e, session_t* s) noexcept nogil:
    """False: the header could not be sent, so this attempt has failed and the next one was begun."""
    cdef int error = introduce(s)
    if error:
        attempt_failed(e, s, failure_of(error))
        connect_somewhere(e, s)
        return False
    give_opening(e, s)
    return True
