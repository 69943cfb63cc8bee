# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The floor: what a relay costs that does nothing else. Edge-triggered epoll, recv and send, one thread.

It has no timers, no limits, no choice of endpoint, no counters and no splice. It is here for scale: what a
real proxy costs above it is the price of being one. It is correct all the same: half-close is passed on after
every byte before it, and a blocked side stops the reading of the other (back-pressure).

Facts it rests on: after a short read the socket is drained, and whatever comes later makes a new edge; an end
of stream that came before is told by EPOLLRDHUP, so only then is reading gone on with. One greedy session is
cut off after PUMPS_PER_TURN full buffers and waits in the `ready` list.
"""
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from bench.load.net cimport *

cdef enum:
    EVENTS_PER_WAIT = 256
    ACCEPTS_PER_EVENT = 64
    PUMPS_PER_TURN = 16
    BUFFER_BYTES = 65536

cdef struct pair_t

cdef struct side_t:
    int fd
    bint ended        # the end of its stream is known to have come (EPOLLRDHUP, EPOLLHUP)
    bint finished     # its end of stream was read
    bint shut         # the other's end of stream was passed on to it
    bint queued       # it is in the ready list
    char* rest        # bytes for this side that it refused; owned; NULL when none
    uint32_t rest_size
    side_t* other
    pair_t* pair
    side_t* next_ready

cdef struct pair_t:
    side_t client
    side_t endpoint
    bint dead         # freed at the end of the batch: a later event of the batch may name the other side
    pair_t* next_dead

cdef struct relay_t:
    int epfd
    int listener
    uint16_t port
    char* buffer
    side_t* ready
    pair_t* dead


cdef void end(relay_t* r, pair_t* p) noexcept nogil:
    if p.dead:
        return
    p.dead = True
    close(p.client.fd)
    close(p.endpoint.fd)
    p.next_dead, r.dead = r.dead, p


cdef void bury(relay_t* r) noexcept nogil:
    """Frees what died, except pairs whose side still stands in the ready list: they wait one more batch."""
    cdef pair_t* p = r.dead
    cdef pair_t* after
    r.dead = NULL
    while p != NULL:
        after = p.next_dead
        if p.client.queued or p.endpoint.queued:
            p.next_dead, r.dead = r.dead, p
            p = after
            continue
        free(p.client.rest)
        free(p.endpoint.rest)
        free(p)
        p = after


cdef int deliver(side_t* to, const char* data, uint32_t size) noexcept nogil:
    """1: all taken; 0: the side is blocked and the rest is kept; -1: the side is gone."""
    cdef ssize_t sent = send(to.fd, data, size, MSG_NOSIGNAL)
    cdef char* rest
    if sent == size:
        return 1
    if sent == -1:
        if errno != EAGAIN:
            return -1
        sent = 0
    rest = <char*>malloc(size - sent)
    if rest == NULL:
        return -1
    memcpy(rest, data + sent, size - sent)
    to.rest, to.rest_size = rest, <uint32_t>(size - sent)
    return 0


cdef int flush(side_t* to) noexcept nogil:
    cdef char* rest = to.rest
    cdef int outcome
    to.rest = NULL
    outcome = deliver(to, rest, to.rest_size)
    free(rest)
    return outcome


cdef void pump(relay_t* r, side_t* source) noexcept nogil:
    """Moves bytes from `source` to its other side until one of them has nothing or takes nothing."""
    cdef side_t* to = source.other
    cdef ssize_t size
    cdef int _, outcome
    for _ in range(PUMPS_PER_TURN):
        if to.rest != NULL:
            outcome = flush(to)
            if outcome != 1:
                if outcome == -1:
                    end(r, source.pair)
                return
        if source.finished:
            pass_end(r, source)
            return
        size = recv(source.fd, r.buffer, BUFFER_BYTES, 0)
        if size > 0:
            outcome = deliver(to, r.buffer, <uint32_t>size)
            if outcome == -1:
                end(r, source.pair)
            if outcome != 1 or (size < BUFFER_BYTES and not source.ended):
                return
        elif size == 0:
            source.finished = True
        else:
            if errno != EAGAIN:
                end(r, source.pair)
            return
    if not source.queued:
        source.queued = True
        source.next_ready, r.ready = r.ready, source


cdef void pass_end(relay_t* r, side_t* source) noexcept nogil:
    if source.other.shut:
        return
    source.other.shut = True
    if source.shut:
        end(r, source.pair)  # the other stream's end was passed on before: the close is the second one
    else:
        shutdown(source.other.fd, SHUT_WR)


cdef void handle(relay_t* r, side_t* s, uint32_t events) noexcept nogil:
    if s.pair.dead:
        return
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        s.ended = True
    if events & EPOLLOUT and s.rest != NULL:
        pump(r, s.other)
        if s.pair.dead:
            return
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        pump(r, s)


cdef void pump_ready(relay_t* r) noexcept nogil:
    cdef side_t* s = r.ready
    cdef side_t* after
    r.ready = NULL
    while s != NULL:
        after = s.next_ready
        s.queued = False
        if not s.pair.dead:
            pump(r, s)
        s = after


cdef void welcome(relay_t* r) noexcept nogil:
    cdef uint32_t interest = EPOLLIN | EPOLLOUT | EPOLLRDHUP | <uint32_t>EPOLLET
    cdef pair_t* p
    cdef int _, fd
    for _ in range(ACCEPTS_PER_EVENT):
        fd = accept4(r.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd == -1:
            return
        p = <pair_t*>calloc(1, sizeof(pair_t))
        if p == NULL:
            close(fd)
            return
        p.client.fd, p.client.pair, p.client.other = fd, p, &p.endpoint
        p.endpoint.pair, p.endpoint.other = p, &p.client
        p.endpoint.fd = connect_loopback(r.port)
        if p.endpoint.fd == -1:
            close(fd)
            free(p)
            continue
        watch(r.epfd, EPOLL_CTL_ADD, p.endpoint.fd, interest, &p.endpoint)
        watch(r.epfd, EPOLL_CTL_ADD, fd, interest, &p.client)


def relay_forever(int listener, int port):
    """Relays what comes to the listening socket `listener` (non-blocking) to 127.0.0.1:port until killed."""
    cdef relay_t r
    cdef epoll_event events[EVENTS_PER_WAIT]
    cdef int i, ready
    r.epfd, r.listener, r.port = epoll_create1(EPOLL_CLOEXEC), listener, <uint16_t>port
    r.buffer = <char*>malloc(BUFFER_BYTES)
    r.ready, r.dead = NULL, NULL
    if r.epfd == -1 or r.buffer == NULL or watch(r.epfd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL) == -1:
        raise OSError("the relay cannot start")
    with nogil:
        while True:
            ready = epoll_wait(r.epfd, events, EVENTS_PER_WAIT, -1 if r.ready == NULL else 0)
            for i in range(ready):
                if events[i].data.ptr == NULL:
                    welcome(&r)
                else:
                    handle(&r, <side_t*>events[i].data.ptr, events[i].events)
            pump_ready(&r)
            bury(&r)
