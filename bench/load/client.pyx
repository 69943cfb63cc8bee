# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A closed-loop client: each session has one operation under way, and starts the next when it is done.

Modes, and what one operation is:
  CONNECT   connect, send `message_bytes`, read `reply_bytes` and the end of stream, close
  MESSAGES  on an open session: send `message_bytes`, read them back. The first 8 bytes are the time of
            sending and must come back unchanged, so a byte of another session is an error
  BULK      on an open session: one message is sent, then everything is read. With `discard` the kernel
            throws the bytes away (MSG_TRUNC) instead of copying them: cheaper than any real reader, and
            kinder to proxies that copy, since what they wrote never moves to another CPU's cache

Sessions are opened and have done one exchange before anything is measured (`open`), then rest until `start`.
Closed loop means coordinated omission: a stall of the proxy delays the questions too, so quantiles compare
proxies under the same rule and are no promise about users.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from bench.load.histogram cimport histogram_t, quantile_ns, record
from bench.load.net cimport *

cdef enum:
    EVENTS_PER_WAIT = 256
    MESSAGE_BYTES_MAX = 65536  # the first part of the buffer holds the message that is sent
    READ_BYTES_MAX = 262144    # a reader's usual buffer; what it copies into should stay in cache
    BUFFER_BYTES = 327680
    WAIT_MS_MAX = 20           # how late a deadline may be noticed when nothing happens
    ERRORS_MAX = 1000          # a proxy that refuses all must not make the client spin

cpdef enum Mode:
    CONNECT = 0
    MESSAGES = 1
    BULK = 2

cdef enum State:
    FREE
    OPENING    # connecting, nothing sent yet
    WAITING    # an operation is under way since `since_ns`
    RESTING    # open, nothing under way

cdef struct session_t:
    int fd
    uint8_t state
    uint32_t got          # bytes of the present answer
    uint64_t since_ns
    uint64_t stamp        # the first 8 bytes of the answer, as they came

cdef struct tally_t:
    uint64_t operations
    uint64_t bytes
    uint64_t connect_failed
    uint64_t reset
    uint64_t short_answer
    uint64_t wrong_answer


cdef class Client:
    cdef int epfd, mode
    cdef uint16_t port
    cdef uint32_t size_max, used, message_bytes, answer_bytes
    cdef uint32_t settled         # sessions that have done their first exchange
    cdef int recv_flags
    cdef bint running             # False while opening: a session rests after its first exchange
    cdef session_t* sessions
    cdef char* buffer
    cdef tally_t tally
    cdef histogram_t latency

    def __cinit__(self, Mode mode, int port, int sessions_max, int message_bytes=64, int reply_bytes=64,
                  bint discard=False):
        if not 8 <= message_bytes <= MESSAGE_BYTES_MAX:
            raise ValueError("message_bytes: 8 to 65536")
        self.mode, self.port, self.size_max = mode, <uint16_t>port, sessions_max
        self.recv_flags = MSG_TRUNC if discard and mode == BULK else 0
        self.message_bytes = 8 if mode == BULK else message_bytes
        self.answer_bytes = reply_bytes if mode == CONNECT else message_bytes
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        self.sessions = <session_t*>calloc(sessions_max, sizeof(session_t))
        self.buffer = <char*>malloc(BUFFER_BYTES)
        if self.epfd == -1 or self.sessions == NULL or self.buffer == NULL:
            raise MemoryError
        memset(self.buffer, 120, BUFFER_BYTES)

    def __dealloc__(self):
        cdef uint32_t i
        if self.sessions != NULL:
            for i in range(self.used):
                if self.sessions[i].state != FREE:
                    close(self.sessions[i].fd)
        free(self.sessions)
        free(self.buffer)
        close(self.epfd)

    # ---- Hot path -----------------------------------------------------------------------------------

    cdef void begin(self, session_t* s) noexcept nogil:
        """Opens the session of a free slot. A failure is counted and leaves it free."""
        s.since_ns = now_ns()
        s.got = 0
        s.fd = connect_loopback(self.port)
        if s.fd == -1:
            self.tally.connect_failed += 1
            return
        s.state = OPENING
        self.ask(s)
        if s.state != FREE:
            watch(self.epfd, EPOLL_CTL_ADD, s.fd,
                  (EPOLLOUT if s.state == OPENING else EPOLLIN) | EPOLLRDHUP, s)

    cdef void ask(self, session_t* s) noexcept nogil:
        """Sends one message; while the session is still connecting it stays OPENING and is asked again."""
        cdef ssize_t sent
        cdef bint opening = s.state == OPENING
        if not opening or self.mode != CONNECT:
            s.since_ns = now_ns()
        s.got = 0
        (<uint64_t*>self.buffer)[0] = s.since_ns
        sent = send(s.fd, self.buffer, self.message_bytes, MSG_NOSIGNAL)
        if sent == <ssize_t>self.message_bytes:
            s.state = WAITING
        elif not (opening and sent == -1 and errno == EAGAIN):
            if opening:
                self.tally.connect_failed += 1
            else:
                self.tally.reset += 1
            self.drop(s)

    cdef void drop(self, session_t* s) noexcept nogil:
        close(s.fd)
        s.state = FREE

    cdef void done(self, session_t* s, uint64_t now) noexcept nogil:
        """One operation is complete and right."""
        self.tally.operations += 1
        record(&self.latency, now - s.since_ns)
        if self.mode == CONNECT:
            self.drop(s)
            if self.running:
                self.begin(s)
            else:
                self.settled += 1
        elif self.running:
            self.ask(s)
        else:
            s.state = RESTING
            self.settled += 1

    cdef void handle(self, session_t* s, uint32_t events) noexcept nogil:
        if s.state == OPENING:
            self.ask(s)
            if s.state == WAITING:
                watch(self.epfd, EPOLL_CTL_MOD, s.fd, EPOLLIN | EPOLLRDHUP, s)
        elif s.state != FREE:
            self.read(s, events)

    cdef void read(self, session_t* s, uint32_t events) noexcept nogil:
        cdef char* into = self.buffer + MESSAGE_BYTES_MAX
        cdef ssize_t size = recv(s.fd, into, READ_BYTES_MAX, self.recv_flags)
        if size == -1:
            if errno != EAGAIN and errno != EINTR:
                self.tally.reset += 1
                self.drop(s)
            return
        if self.mode == BULK:
            self.read_bulk(s, size)
            return
        self.tally.bytes += size
        if s.got == 0 and size >= 8:
            s.stamp = (<uint64_t*>into)[0]
        s.got += <uint32_t>size
        if s.got > self.answer_bytes or (s.state == RESTING and size > 0):
            self.tally.wrong_answer += 1
            self.drop(s)
        elif self.mode == CONNECT:
            if s.got == self.answer_bytes and (size == 0 or events & EPOLLRDHUP):
                self.done(s, now_ns())
            elif size == 0:
                self.tally.short_answer += 1
                self.drop(s)
        elif size == 0:
            self.tally.short_answer += 1
            self.drop(s)
        elif s.got == self.answer_bytes:
            if s.stamp == s.since_ns:
                self.done(s, now_ns())
            else:
                self.tally.wrong_answer += 1
                self.drop(s)

    cdef void read_bulk(self, session_t* s, ssize_t size) noexcept nogil:
        """A stream that ends is an error; a stalled one is found by the age of its last bytes."""
        if size == 0:
            self.tally.short_answer += 1
            self.drop(s)
            return
        if s.got == 0:
            self.settled += 1
        s.got = 1
        s.since_ns = now_ns()
        self.tally.operations += 1
        self.tally.bytes += size

    cdef uint64_t errors_total(self) noexcept nogil:
        return (self.tally.connect_failed + self.tally.reset + self.tally.short_answer
                + self.tally.wrong_answer)

    cdef void reopen(self) noexcept nogil:
        """CONNECT: slots that an error left free start again."""
        cdef uint32_t i
        for i in range(self.used):
            if self.sessions[i].state == FREE:
                self.begin(&self.sessions[i])

    cdef void loop(self, uint64_t deadline_ns, uint64_t operations_max, uint32_t settled_min) noexcept nogil:
        """Runs until the deadline, or the count of operations, or of settled sessions; 0 is no such end."""
        cdef epoll_event events[EVENTS_PER_WAIT]
        cdef uint64_t errors = self.errors_total()
        cdef int i, ready
        while now_ns() < deadline_ns and self.errors_total() < ERRORS_MAX:
            if operations_max and self.tally.operations >= operations_max:
                return
            if settled_min and self.settled >= settled_min:
                return
            ready = epoll_wait(self.epfd, events, EVENTS_PER_WAIT, WAIT_MS_MAX)
            for i in range(ready):
                self.handle(<session_t*>events[i].data.ptr, events[i].events)
            if self.errors_total() != errors:
                errors = self.errors_total()
                if self.mode == CONNECT and self.running:
                    self.reopen()

    # ---- Python surface -----------------------------------------------------------------------------

    def open(self, int count, double timeout_s):
        """Opens `count` sessions more and waits until each has done an exchange. Returns how many have."""
        cdef uint64_t deadline_ns = now_ns() + <uint64_t>(timeout_s * 1e9)
        cdef uint32_t settled_min
        if self.used + count > self.size_max:
            raise ValueError("more sessions than sessions_max")
        settled_min = self.settled + count
        with nogil:
            for _ in range(count):
                self.used += 1
                self.begin(&self.sessions[self.used - 1])
            self.loop(deadline_ns, 0, settled_min)
        return self.settled

    def start(self):
        """Sets every session going; from now on none rests."""
        cdef uint32_t i
        self.running = True
        with nogil:
            for i in range(self.used):
                if self.sessions[i].state == FREE and self.mode == CONNECT:
                    self.begin(&self.sessions[i])
                elif self.sessions[i].state == RESTING:
                    self.ask(&self.sessions[i])

    def run(self, double seconds, uint64_t operations_max=0):
        """Lets the sessions work. Returns the seconds it took."""
        cdef uint64_t start_ns = now_ns()
        with nogil:
            self.loop(start_ns + <uint64_t>(seconds * 1e9), operations_max, 0)
        return (now_ns() - start_ns) / 1e9

    def finish(self, double timeout_s):
        """CONNECT: lets what is under way end and begins nothing new."""
        cdef uint64_t deadline_ns = now_ns() + <uint64_t>(timeout_s * 1e9)
        cdef uint32_t i, alive = 0
        self.running = False
        for i in range(self.used):
            alive += self.sessions[i].state != FREE
        if alive:
            with nogil:
                self.loop(deadline_ns, 0, self.settled + alive)

    def reset_counts(self):
        """Forgets operations, bytes and latencies so far; errors stay: there is no harmless one."""
        self.tally.operations = self.tally.bytes = 0
        memset(&self.latency, 0, sizeof(self.latency))

    def stalled(self, double age_s):
        """Sessions whose operation (BULK: whose last bytes) is older than `age_s`."""
        cdef uint64_t limit_ns = now_ns() - <uint64_t>(age_s * 1e9)
        cdef uint32_t i
        cdef int found = 0
        for i in range(self.used):
            if self.sessions[i].state in (OPENING, WAITING) and self.sessions[i].since_ns < limit_ns:
                found += 1
        return found

    def counts(self):
        """Operations, bytes, errors by kind, sessions that are open, latencies in µs."""
        cdef uint32_t i
        cdef int alive = 0
        for i in range(self.used):
            alive += self.sessions[i].state != FREE
        quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
        latency = {name: quantile_ns(&self.latency, q) / 1e3 for name, q in quantiles.items()}
        latency["mean"] = self.latency.sum_ns / 1e3 / self.latency.count if self.latency.count else 0.0
        latency["max"] = self.latency.max_ns / 1e3
        return {
            "operations": self.tally.operations,
            "bytes": self.tally.bytes,
            "errors": {
                "connect_failed": self.tally.connect_failed,
                "reset": self.tally.reset,
                "short_answer": self.tally.short_answer,
                "wrong_answer": self.tally.wrong_answer,
            },
            "sessions_open": alive,
            "latency_us": latency,
        }
