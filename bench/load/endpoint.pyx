# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""An endpoint that costs as little as an endpoint can: one thread, one epoll, level-triggered.

Modes:
  echo    sends back what it reads, for as long as the session lives
  reply   reads one request (whatever the first recv brings), answers `reply`, closes: TIME_WAIT stays here,
          on the listening port, so that no ephemeral port of the proxy is used up by a long run
  http    answers `reply` to each request (ended by an empty line, no body), keeps the session
  source  after the first byte read: sends for as long as it is taken
  sink    reads and throws away, without copying (MSG_TRUNC)
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from bench.load.net cimport *

cdef enum:
    EVENTS_PER_WAIT = 256
    ACCEPTS_PER_EVENT = 64
    BUFFER_BYTES = 262144  # a bulk send: large, so that the endpoint's own calls weigh little

cpdef enum Mode:
    ECHO = 0
    REPLY = 1
    HTTP = 2
    SOURCE = 3
    SINK = 4

cdef struct session_t:
    int fd
    uint8_t matched    # http: how many bytes of \r\n\r\n were seen last
    bint sending       # source: the first byte came
    char* rest         # what the client has not taken yet; NULL most of the time
    uint32_t rest_size


cdef void end(session_t* s) noexcept nogil:
    close(s.fd)
    free(s.rest)
    free(s)


cdef bint give(endpoint_t* e, session_t* s, const char* data, ssize_t size) noexcept nogil:
    """Sends, or keeps what is refused and waits for room. False when the session is over."""
    cdef ssize_t sent = send(s.fd, data, size, MSG_NOSIGNAL)
    if sent == size:
        return True
    if sent == -1:
        if errno != EAGAIN:
            return False
        sent = 0
    s.rest_size = <uint32_t>(size - sent)
    s.rest = <char*>malloc(s.rest_size)
    if s.rest == NULL:
        return False
    memcpy(s.rest, data + sent, s.rest_size)
    watch(e.epfd, EPOLL_CTL_MOD, s.fd, EPOLLOUT, s)  # no EPOLLIN: nothing is read until this is gone
    return True


cdef bint give_rest(endpoint_t* e, session_t* s) noexcept nogil:
    cdef char* rest = s.rest
    cdef bint alive
    s.rest = NULL
    alive = give(e, s, rest, s.rest_size)
    free(rest)
    if alive and s.rest == NULL:
        watch(e.epfd, EPOLL_CTL_MOD, s.fd, EPOLLIN, s)
    return alive


cdef int requests_in(session_t* s, const char* data, ssize_t size) noexcept nogil:
    """How many empty lines end in `data`, remembering a line cut in two."""
    cdef const char* pattern = b"\r\n\r\n"
    cdef int found = 0
    cdef ssize_t i
    for i in range(size):
        if data[i] == pattern[s.matched]:
            s.matched += 1
            if s.matched == 4:
                found += 1
                s.matched = 0
        else:
            s.matched = 1 if data[i] == 13 else 0
    return found


cdef bint answer_http(endpoint_t* e, session_t* s, ssize_t size) noexcept nogil:
    cdef int requests = requests_in(s, e.buffer, size)
    cdef ssize_t total = 0
    while requests > 0 and total + e.reply_size <= BUFFER_BYTES:
        memcpy(e.buffer + total, e.reply, e.reply_size)
        total += e.reply_size
        requests -= 1
    return total == 0 or give(e, s, e.buffer, total)


cdef bint serve(endpoint_t* e, session_t* s, uint32_t events) noexcept nogil:
    """One event of one session. False when the session is over."""
    cdef ssize_t size
    if s.rest != NULL:
        return give_rest(e, s)
    if s.sending:
        size = send(s.fd, e.buffer, BUFFER_BYTES, MSG_NOSIGNAL)
        return (size != -1 or errno == EAGAIN) and not events & (EPOLLHUP | EPOLLERR)
    size = recv(s.fd, e.buffer, BUFFER_BYTES, MSG_TRUNC if e.mode == SINK else 0)
    if size == -1 and (errno == EAGAIN or errno == EINTR):
        return True
    if size <= 0:
        return False
    if e.mode == ECHO:
        return give(e, s, e.buffer, size)
    if e.mode == REPLY:
        send(s.fd, e.reply, e.reply_size, MSG_NOSIGNAL)
        return False
    if e.mode == HTTP:
        return answer_http(e, s, size)
    if e.mode == SOURCE:
        s.sending = True
        memset(e.buffer, 120, BUFFER_BYTES)
        watch(e.epfd, EPOLL_CTL_MOD, s.fd, EPOLLOUT, s)
    return True


cdef void welcome(endpoint_t* e) noexcept nogil:
    cdef session_t* s
    cdef int _, fd
    for _ in range(ACCEPTS_PER_EVENT):
        fd = accept4(e.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd == -1:
            return
        s = <session_t*>calloc(1, sizeof(session_t))
        if s == NULL:
            close(fd)
            return
        s.fd = fd
        if watch(e.epfd, EPOLL_CTL_ADD, fd, EPOLLIN, s) == -1:
            end(s)


cdef int prepare(
    endpoint_t* e, int listener, int mode, const char* reply, uint32_t reply_size
) noexcept nogil:
    """-1: it cannot start."""
    e.epfd, e.listener, e.mode = epoll_create1(EPOLL_CLOEXEC), listener, mode
    e.reply, e.reply_size = reply, reply_size
    e.buffer = <char*>malloc(BUFFER_BYTES)
    if e.epfd == -1 or e.buffer == NULL:
        return -1
    return watch(e.epfd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL)


cdef void turn(endpoint_t* e, int wait_ms) noexcept nogil:
    """Serves one batch of events; waits for it at most `wait_ms`, -1 for as long as it takes."""
    cdef epoll_event events[EVENTS_PER_WAIT]
    cdef int i, ready = epoll_wait(e.epfd, events, EVENTS_PER_WAIT, wait_ms)
    cdef void* owner
    for i in range(ready):
        owner = events[i].data.ptr
        if owner == NULL:
            welcome(e)
        elif not serve(e, <session_t*>owner, events[i].events):
            end(<session_t*>owner)


def serve_forever(int listener, Mode mode, bytes reply):
    """Serves the listening socket `listener` (non-blocking) until the process is killed."""
    cdef endpoint_t e
    if prepare(&e, listener, mode, reply, <uint32_t>len(reply)) == -1:
        raise OSError("the endpoint cannot start")
    with nogil:
        while True:
            turn(&e, -1)
