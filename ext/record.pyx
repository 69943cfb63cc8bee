# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The access-log line: one JSON object, written by C into the worker's ring.

Names and addresses come from the snapshot, whose compiler refuses text that would need escaping. What a
client chose is its server name, of plain characters and bounded (put_name), and, where a proxy that is
trusted says so, an address. Times of day are UTC; `time` is when the session ended. Durations are
milliseconds with three decimals, null for what did not happen.

When more sessions end in a second than `log.access_rate_max` has lines for, a uniform sample of them is
written: each with the chance that the number of the second before gives it, and no more than there are lines
for (in the first second of a flood: the first ones). A worker has an equal share, at least one line. The next
line says how many sessions of its worker had none since the one before it (`left_out`): so lines and
`left_out` add up to all sessions.
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from lb._ext.board cimport FAILURES, REASONS, worker_cell_t
from lb._ext.linux cimport *
from lb._ext.pick cimport draw
from lb._ext.ring cimport put_line
from lb._ext.state cimport *
from lb._ext.table cimport endpoint_t, header_t, listener_t, text_t

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
    tm* gmtime_r(const time_t* seconds, tm* out)

cdef enum:
    LINE_MAX = 4096             # 8 attempts with the longest names are under 2 KiB
    DIGITS_MAX = 20             # of 2^64

cdef const char* REASON_WORDS[REASONS]
REASON_WORDS[:] = [
    "done", "client_reset", "endpoint_reset", "client_vanished", "endpoint_vanished", "connect_failed",
    "no_endpoint", "refused_acl", "refused_rate", "refused_limit", "queue_timeout", "bad_proxy_header",
    "routing_timeout", "idle_timeout", "half_close_timeout", "lifetime", "drained", "endpoint_down",
    "operator", "shutdown", "lb_error", "worker_lost",
]
cdef const char* CLOSER_WORDS[3]
CLOSER_WORDS[:] = ["client", "endpoint", "lb"]
cdef const char* RESULT_WORDS[FAILURES + 2]
# early_reset and silent are of connections that stood; they keep the places.
RESULT_WORDS[:] = ["refused", "timeout", "unreachable", "reset", "local", "early_reset", "silent",
                   "connected", "unfinished"]

cdef struct line_t:
    uint32_t size
    char text[LINE_MAX]


cdef void note_addresses(engine_t* e, session_t* s) noexcept nogil:
    cdef socklen_t size
    if e.ring == NULL:
        return
    if s.side[CLIENT].fd != -1:
        size = sizeof(address_t)
        getsockname(s.side[CLIENT].fd, &s.local.any, &size)
    if s.side[UPSTREAM].fd != -1:
        size = sizeof(address_t)
        getsockname(s.side[UPSTREAM].fd, &s.upstream.any, &size)


cdef void put_record(engine_t* e, session_t* s) noexcept nogil:
    cdef line_t line
    if e.ring == NULL or is_left_out(e):
        return
    if s.local.any.sa_family == 0:
        note_addresses(e, s)
    line.size = 0
    put_time(&line)
    put_names(e, s, &line)
    put_address(&line, ',"client":', &s.client)
    put_peer(s, &line)
    if s.local.any.sa_family == AF_UNIX:
        put_own_path(&line, s.side[CLIENT].fd)
    else:
        put_address(&line, ',"local":', &s.local)
    if s.upstream.any.sa_family == AF_UNIX and s.endpoint < e.table.header.endpoints_count:
        put_text(e, &line, ',"upstream":', e.table.endpoints[s.endpoint].address_text)
    else:
        put_address(&line, ',"upstream":', &s.upstream)
    put_attempts(e, s, &line)
    put_span(&line, ',"queue_ms":', e.now_ns - s.queued_ns, e.now_ns)
    put_span(&line, ',"connect_ms":', s.connect_from_ns, s.connected_ns)
    put_span(&line, ',"first_byte_ms":', s.connected_ns, s.first_byte_ns)
    put_span(&line, ',"duration_ms":', s.accepted_ns, e.now_ns)
    put_count(&line, ',"bytes_in":', s.bytes_in)
    put_count(&line, ',"bytes_out":', s.bytes_out)
    put_word(&line, ',"closed_by":"', CLOSER_WORDS[s.closer])
    put_word(&line, ',"reason":"', REASON_WORDS[s.reason])
    put_count(&line, ',"worker":', e.worker)
    put_name(s, &line)
    put_left_out(e, &line)
    put(&line, '}\n')
    if put_line(e.ring, line.text, line.size):
        e.log_left_out = 0
    else:
        e.cell.access_dropped_total += 1


# ---- Sampling ---------------------------------------------------------------------------------------

cdef bint is_left_out(engine_t* e) noexcept nogil:
    """Counts a session of this second, and says whether it gets no line."""
    cdef uint64_t second = e.now_ns // 1000000000
    cdef uint32_t share
    if e.table.header.access_rate_max == 0:
        return False
    share = max(e.table.header.access_rate_max // e.board.count, <uint32_t>1)
    if second != e.log_second:
        e.log_before = e.log_count if second == e.log_second + 1 else 0
        e.log_second, e.log_count, e.log_written = second, 0, 0
    e.log_count += 1
    if e.log_written < share and (e.log_before <= share or draw(e) % e.log_before < share):
        e.log_written += 1
        return False
    e.log_left_out += 1
    e.cell.access_sampled_out_total += 1
    return True


cdef void put_left_out(engine_t* e, line_t* line) noexcept nogil:
    if e.log_left_out:
        put_count(line, ',"left_out":', e.log_left_out)


cdef void put(line_t* line, const char* text) noexcept nogil:
    while text[0]:
        line.text[line.size] = text[0]
        line.size += 1
        text += 1


cdef void put_word(line_t* line, const char* key, const char* word) noexcept nogil:
    put(line, key)
    put(line, word)
    put(line, '"')


cdef void put_count(line_t* line, const char* key, uint64_t count) noexcept nogil:
    put(line, key)
    put_number(line, count, 1)


cdef void put_number(line_t* line, uint64_t number, int digits_min) noexcept nogil:
    """In decimal. printf() and inet_ntop() would take a tenth of a connection's CPU for a line's numbers."""
    cdef char digits[DIGITS_MAX]
    cdef int at = DIGITS_MAX
    while number or digits_min > 0:
        at -= 1
        digits[at] = <char>(48 + number % 10)
        number //= 10
        digits_min -= 1
    memcpy(line.text + line.size, digits + at, DIGITS_MAX - at)
    line.size += DIGITS_MAX - at


cdef void put_text(const engine_t* e, line_t* line, const char* key, text_t text) noexcept nogil:
    put(line, key)
    put(line, '"')
    memcpy(line.text + line.size, e.table.text + text.offset, text.size)
    line.size += text.size
    put(line, '"')


cdef void put_time(line_t* line) noexcept nogil:
    cdef timespec now
    cdef tm day
    clock_gettime(CLOCK_REALTIME, &now)
    gmtime_r(<time_t*>&now.tv_sec, &day)
    put(line, '{"time":"')
    put_number(line, day.tm_year + 1900, 4)
    put(line, '-')
    put_number(line, day.tm_mon + 1, 2)
    put(line, '-')
    put_number(line, day.tm_mday, 2)
    put(line, 'T')
    put_number(line, day.tm_hour, 2)
    put(line, ':')
    put_number(line, day.tm_min, 2)
    put(line, ':')
    put_number(line, day.tm_sec, 2)
    put(line, '.')
    put_number(line, now.tv_nsec // 1000000, 3)
    put(line, 'Z"')


cdef void put_names(const engine_t* e, const session_t* s, line_t* line) noexcept nogil:
    """Those of a session's lines that have left, which the supervisor's promise rules out, are null."""
    cdef const listener_t* listener = NULL
    if s.listener < e.table.header.listeners_count and e.table.listeners[s.listener].present:
        listener = &e.table.listeners[s.listener]
        put_text(e, line, ',"listener":', listener.name)
    else:
        put(line, ',"listener":null')
    if s.endpoint >= e.table.header.endpoints_count:  # NONE is, too
        if listener != NULL:
            put_text(e, line, ',"pool":', e.table.pools[listener.pool].name)
        else:
            put(line, ',"pool":null')
        put(line, ',"endpoint":null')
    else:
        put_text(e, line, ',"pool":', e.table.endpoints[s.endpoint].pool)
        put_text(e, line, ',"endpoint":', e.table.endpoints[s.endpoint].name)


cdef void put_address(line_t* line, const char* key, const address_t* address) noexcept nogil:
    put(line, key)
    put(line, '"')
    if address.any.sa_family == AF_INET:
        put_dotted(line, <const uint8_t*>&address.v4.sin_addr)
        put_count(line, ':', ntohs(address.v4.sin_port))
    elif address.any.sa_family == AF_INET6:
        put(line, '[')
        inet_ntop(AF_INET6, &address.v6.sin6_addr, line.text + line.size, INET6_ADDRSTRLEN)
        while line.text[line.size]:
            line.size += 1
        put_count(line, ']:', ntohs(address.v6.sin6_port))
    elif address.any.sa_family == AF_UNIX:
        put(line, 'unix:')
    else:
        line.size -= 1
        put(line, 'null')
        return
    put(line, '"')


cdef void put_own_path(line_t* line, int fd) noexcept nogil:
    """Where a client of a unix socket came in. Its end may be closed by now; and what stands in a path that
    JSON would have to escape is left out with all that follows."""
    cdef place_t place
    cdef socklen_t size = sizeof(place)
    cdef size_t i
    memset(&place, 0, sizeof(place))
    put(line, ',"local":"unix:')
    if fd != -1 and getsockname(fd, &place.ip.any, &size) == 0:
        for i in range(sizeof(place.file.sun_path)):
            if <uint8_t>place.file.sun_path[i] < 32 or place.file.sun_path[i] in (34, 92, 127):
                break
            line.text[line.size] = place.file.sun_path[i]
            line.size += 1
    put(line, '"')


cdef void put_peer(const session_t* s, line_t* line) noexcept nogil:
    """Who connected, where a PROXY header named another as the client."""
    if s.details != NULL and s.details.peer.any.sa_family:
        put_address(line, ',"peer":', &s.details.peer)
    else:
        put(line, ',"peer":null')


cdef void put_name(const session_t* s, line_t* line) noexcept nogil:
    if s.details == NULL or s.details.name_size == 0:
        put(line, ',"sni":null')
        return
    put(line, ',"sni":"')
    memcpy(line.text + line.size, s.details.name, s.details.name_size)
    line.size += s.details.name_size
    put(line, '"')


cdef void put_dotted(line_t* line, const uint8_t* octets) noexcept nogil:
    cdef int i
    for i in range(4):
        if i:
            put(line, '.')
        put_number(line, octets[i], 1)


cdef void put_span(line_t* line, const char* key, uint64_t from_ns, uint64_t to_ns) noexcept nogil:
    cdef uint64_t us
    put(line, key)
    if from_ns == 0 or to_ns < from_ns:
        put(line, 'null')
        return
    us = (to_ns - from_ns) // 1000
    put_number(line, us // 1000, 1)
    put(line, '.')
    put_number(line, us % 1000, 3)


cdef void put_attempts(const engine_t* e, const session_t* s, line_t* line) noexcept nogil:
    cdef const endpoint_t* endpoint
    cdef int i
    put(line, ',"attempts":[')
    for i in range(s.attempts):
        put(line, ',{' if i else '{')
        if s.tried[i] < e.table.header.endpoints_count:  # one that was given up may have left meanwhile
            endpoint = &e.table.endpoints[s.tried[i]]
            put_text(e, line, '"endpoint":', endpoint.name)
            put_text(e, line, ',"address":', endpoint.address_text)
            put(line, ',')
        put(line, '"result":"')
        put(line, RESULT_WORDS[s.results[i]])
        put(line, '"}')
    put(line, ']')


# ---- For tests --------------------------------------------------------------------------------------

def sampled(uint32_t rate_max, list ended_ns) -> list:
    """Which of the sessions of a lone worker that end at these times get a line."""
    cdef engine_t* e = <engine_t*>calloc(1, sizeof(engine_t))
    cdef worker_cell_t cell
    cdef header_t header
    cell.access_sampled_out_total, header.access_rate_max = 0, rate_max
    e.cell, e.table.header, e.board.count, e.random = &cell, &header, 1, 1
    found = []
    for e.now_ns in ended_ns:
        found.append(not is_left_out(e))
    free(e)
    return found
