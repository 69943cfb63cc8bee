# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""An open-loop client: operations are due at a fixed rate, whatever has become of those before.

Operation k is due at start + k / rate, and its latency counts from there, not from when it was really begun.
A stall, the proxy's or this client's own, holds back nothing that is due and is seen in each operation that
waited for it: no coordinated omission. How late operations were begun is kept beside (`late`).

Modes, and what one operation is:
  CONNECT   connect, send `message_bytes`, read `reply_bytes` and the end of stream, close
  MESSAGES  message k goes out on open session k mod `sessions_max`, also while an earlier one is under way
            there, and is read back. Its first 8 bytes are the time it was due; they must come back, in order

The endpoint is turned by the same loop. As two processes on one CPU the two would wait for the scheduler to
change between them, up to a slice of 2.8 ms, which is more than proxies differ by. `busy` polls and never
sleeps: the client's CPU is awake when an answer comes, and nothing is begun late. Without it the loop sleeps
until something is due, which leaves the CPU to others.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport timespec

from bench.load.endpoint cimport endpoint_t, prepare, turn
from bench.load.histogram cimport histogram_t, quantile_ns, record
from bench.load.net cimport *

from bench.load.endpoint import Mode as EndpointMode

cdef enum:
    EVENTS_PER_WAIT = 256
    BEGUN_PER_TURN = 64      # after a stall: answers are read between batches of what is overdue
    MESSAGE_BYTES_MAX = 4096
    READ_BYTES_MAX = 65536
    ERRORS_MAX = 1000

cpdef enum Mode:
    CONNECT = 0
    MESSAGES = 1

cdef enum State:
    FREE
    OPENING    # connecting, nothing sent yet
    OPEN

cdef struct session_t:
    int fd
    uint8_t state
    uint32_t number       # its index
    uint32_t got          # bytes of the present answer
    uint64_t operation    # CONNECT: which one it is; MESSAGES: the one answered next
    uint64_t stamp        # the first 8 bytes of the answer, as they came
    uint32_t waiting      # operations begun and not answered

cdef struct tally_t:
    uint64_t operations
    uint64_t connect_failed
    uint64_t reset
    uint64_t short_answer
    uint64_t wrong_answer
    uint64_t blocked      # no session was free, or its socket took nothing more
    uint64_t unanswered   # when the deadline came


cdef class Pace:
    """One client and its endpoint, to which `listener`, non-blocking, is given over."""

    cdef int epfd, mode
    cdef bint busy
    cdef uint16_t port
    cdef uint32_t size_max, opened, message_bytes, reply_bytes, free_count
    cdef uint64_t start_ns, next, outstanding
    cdef double period_ns
    cdef session_t* sessions
    cdef uint32_t* free_numbers
    cdef char* message
    cdef char* buffer
    cdef tally_t tally
    cdef histogram_t latency, late
    cdef endpoint_t endpoint
    cdef bytes reply

    def __cinit__(self, Mode mode, int listener, double rate, int sessions_max, bint busy=True,
                  int message_bytes=64, int reply_bytes=64):
        if not 8 <= message_bytes <= MESSAGE_BYTES_MAX:
            raise ValueError("message_bytes: 8 to 4096")
        self.mode, self.busy, self.size_max = mode, busy, sessions_max
        self.message_bytes, self.reply_bytes = message_bytes, reply_bytes
        self.period_ns = 1e9 / rate
        self.sessions = <session_t*>calloc(sessions_max, sizeof(session_t))
        self.free_numbers = <uint32_t*>calloc(sessions_max, sizeof(uint32_t))
        self.message = <char*>malloc(MESSAGE_BYTES_MAX)
        self.buffer = <char*>malloc(READ_BYTES_MAX)
        if self.sessions == NULL or self.free_numbers == NULL or self.message == NULL or self.buffer == NULL:
            raise MemoryError
        memset(self.message, 120, MESSAGE_BYTES_MAX)
        for number in range(sessions_max):
            self.sessions[number].number = number
            self.put_back(&self.sessions[number])
        self.reply = b"x" * reply_bytes
        serving = EndpointMode.REPLY if mode == CONNECT else EndpointMode.ECHO
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if prepare(&self.endpoint, listener, serving, self.reply, reply_bytes) == -1:
            raise OSError("the endpoint cannot start")
        watch(self.epfd, EPOLL_CTL_ADD, self.endpoint.epfd, EPOLLIN, NULL)

    def __dealloc__(self):
        cdef uint32_t number
        if self.sessions != NULL:
            for number in range(self.size_max):
                if self.sessions[number].state != FREE:
                    close(self.sessions[number].fd)
        free(self.sessions)
        free(self.free_numbers)
        free(self.message)
        free(self.buffer)
        close(self.epfd)

    # ---- Hot path -----------------------------------------------------------------------------------

    cdef uint64_t due_ns(self, uint64_t operation) noexcept nogil:
        return self.start_ns + <uint64_t>(<double>operation * self.period_ns)

    cdef void begin(self, uint64_t operation) noexcept nogil:
        """Begins what is due now, or counts why that was not possible."""
        cdef session_t* s
        record(&self.late, now_ns() - self.due_ns(operation))
        if self.mode == CONNECT:
            s = self.open_session()
            if s == NULL:
                return
            s.operation = operation
        else:
            s = &self.sessions[operation % self.size_max]
            if s.state != OPEN:
                self.tally.reset += 1
                return
        s.waiting += 1
        self.outstanding += 1
        self.ask(s, operation)

    cdef session_t* open_session(self) noexcept nogil:
        cdef session_t* s
        if self.free_count == 0:
            self.tally.blocked += 1
            return NULL
        s = &self.sessions[self.free_numbers[self.free_count - 1]]
        s.fd = connect_loopback(self.port)
        if s.fd == -1:
            self.tally.connect_failed += 1
            return NULL
        self.free_count -= 1
        s.state = OPENING
        s.got = 0
        s.waiting = 0
        watch(self.epfd, EPOLL_CTL_ADD, s.fd, EPOLLOUT | EPOLLRDHUP, s)
        return s

    cdef void ask(self, session_t* s, uint64_t operation) noexcept nogil:
        """Sends the operation's message; a session that still connects stays OPENING and is asked again."""
        cdef ssize_t sent
        (<uint64_t*>self.message)[0] = self.due_ns(operation)
        sent = send(s.fd, self.message, self.message_bytes, MSG_NOSIGNAL)
        if sent == <ssize_t>self.message_bytes:
            if s.state == OPENING:
                self.settle(s)
        elif sent != -1 or errno == EAGAIN:
            if s.state != OPENING:
                self.tally.blocked += 1
                self.drop(s)
        else:
            if s.state == OPENING:
                self.tally.connect_failed += 1
            else:
                self.tally.reset += 1
            self.drop(s)

    cdef void settle(self, session_t* s) noexcept nogil:
        s.state = OPEN
        watch(self.epfd, EPOLL_CTL_MOD, s.fd, EPOLLIN | EPOLLRDHUP, s)

    cdef void drop(self, session_t* s) noexcept nogil:
        close(s.fd)
        self.outstanding -= s.waiting
        self.put_back(s)

    cdef void put_back(self, session_t* s) noexcept nogil:
        s.state = FREE
        self.free_numbers[self.free_count] = s.number
        self.free_count += 1

    cdef void done(self, session_t* s) noexcept nogil:
        record(&self.latency, now_ns() - self.due_ns(s.operation))
        self.tally.operations += 1
        self.outstanding -= 1
        s.waiting -= 1

    cdef void handle(self, session_t* s, uint32_t events) noexcept nogil:
        cdef ssize_t size
        if s.state == OPENING:
            if self.mode == CONNECT:
                self.ask(s, s.operation)
            else:
                self.settle(s)
                self.opened += 1
            return
        size = recv(s.fd, self.buffer, READ_BYTES_MAX, 0)
        if size == -1:
            if errno != EAGAIN and errno != EINTR:
                self.tally.reset += 1
                self.drop(s)
        elif self.mode == CONNECT:
            self.read_reply(s, size, events)
        elif size == 0:
            self.tally.short_answer += 1
            self.drop(s)
        elif not self.read_messages(s, self.buffer, <uint32_t>size):
            self.tally.wrong_answer += 1
            self.drop(s)

    cdef void read_reply(self, session_t* s, ssize_t size, uint32_t events) noexcept nogil:
        s.got += <uint32_t>size
        if s.got == self.reply_bytes and (size == 0 or events & EPOLLRDHUP):
            self.done(s)
            self.drop(s)
        elif s.got > self.reply_bytes:
            self.tally.wrong_answer += 1
            self.drop(s)
        elif size == 0:
            self.tally.short_answer += 1
            self.drop(s)

    cdef bint read_messages(self, session_t* s, const char* data, uint32_t size) noexcept nogil:
        """Several answers, or a part of one. False: it is not what was sent."""
        cdef uint32_t taken
        while size > 0:
            taken = min(size, self.message_bytes - s.got)
            if s.got < 8:
                memcpy(<char*>&s.stamp + s.got, data, min(taken, 8 - s.got))
            s.got += taken
            data += taken
            size -= taken
            if s.got == self.message_bytes:
                if s.waiting == 0 or s.stamp != self.due_ns(s.operation):
                    return False
                self.done(s)
                s.got = 0
                s.operation += self.size_max
        return True

    cdef uint64_t errors_total(self) noexcept nogil:
        return (self.tally.connect_failed + self.tally.reset + self.tally.short_answer
                + self.tally.wrong_answer + self.tally.blocked)

    cdef void wait(self, uint64_t until_ns) noexcept nogil:
        """Handles what has come, or comes until then."""
        cdef epoll_event events[EVENTS_PER_WAIT]
        cdef timespec timeout
        cdef uint64_t now = now_ns(), left_ns = 0
        cdef int i, ready
        if not self.busy and until_ns > now:
            left_ns = until_ns - now
        timeout.tv_sec, timeout.tv_nsec = left_ns // 1000000000, left_ns % 1000000000
        ready = epoll_pwait2(self.epfd, events, EVENTS_PER_WAIT, &timeout, NULL)
        for i in range(ready):
            if events[i].data.ptr == NULL:
                turn(&self.endpoint, 0)
            else:
                self.handle(<session_t*>events[i].data.ptr, events[i].events)

    cdef void keep_pace(self, uint64_t operations) noexcept nogil:
        """Begins each operation when it is due, until the last has begun."""
        cdef int _
        while self.next < operations and self.errors_total() < ERRORS_MAX:
            for _ in range(BEGUN_PER_TURN):
                if self.next == operations or self.due_ns(self.next) > now_ns():
                    break
                self.begin(self.next)
                self.next += 1
            self.wait(self.due_ns(self.next))

    cdef void finish(self, uint64_t deadline_ns) noexcept nogil:
        while self.outstanding > 0 and now_ns() < deadline_ns:
            self.wait(deadline_ns)
        self.tally.unanswered += self.outstanding

    # ---- Python surface -----------------------------------------------------------------------------

    def open(self, int port, double timeout_s):
        """Where to go; in MESSAGES opens every session. Returns how many are open."""
        cdef uint64_t deadline_ns = now_ns() + <uint64_t>(timeout_s * 1e9)
        cdef uint32_t _
        self.port = <uint16_t>port
        if self.mode == MESSAGES:
            with nogil:
                for _ in range(self.size_max):
                    self.open_session()
                while self.opened < self.size_max and self.free_count == 0 and now_ns() < deadline_ns:
                    self.wait(deadline_ns)
        return self.opened

    def run(self, double seconds, double timeout_s):
        """Keeps the pace for so long, then waits for what is under way. Figures are of this run; errors stay.

        Returns the seconds until the last was begun.
        """
        cdef uint64_t operations = <uint64_t>(seconds * 1e9 / self.period_ns + 0.5)
        cdef uint64_t end_ns
        cdef uint32_t number
        memset(&self.latency, 0, sizeof(self.latency))
        memset(&self.late, 0, sizeof(self.late))
        self.tally.operations = 0
        self.next = 0
        for number in range(self.size_max):
            self.sessions[number].operation = number
        self.start_ns = now_ns()
        with nogil:
            self.keep_pace(operations)
            end_ns = now_ns()
            self.finish(end_ns + <uint64_t>(timeout_s * 1e9))
        return (end_ns - self.start_ns) / 1e9

    def counts(self):
        """Operations, errors by kind, and in µs latencies and how late operations were begun."""
        return {
            "operations": self.tally.operations,
            "errors": {
                "connect_failed": self.tally.connect_failed,
                "reset": self.tally.reset,
                "short_answer": self.tally.short_answer,
                "wrong_answer": self.tally.wrong_answer,
                "blocked": self.tally.blocked,
                "unanswered": self.tally.unanswered,
            },
            "latency_us": quantiles(&self.latency),
            "late_us": quantiles(&self.late),
        }


cdef dict quantiles(const histogram_t* h):
    found = {
        name: quantile_ns(h, q) / 1e3
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
    }
    return found | {"mean": h.sum_ns / 1e3 / h.count if h.count else 0.0, "max": h.max_ns / 1e3}
