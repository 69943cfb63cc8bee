# cython: language_level=3
"""Bandwidth of a session: one token bucket for each direction that has a limit.

A bucket is one number, the time when it is full again. It holds a quarter of a second's worth, at least one
block. Bytes are let through in portions (a fiftieth of a second's worth, some KiB at least), so that a slow
session is neither fed byte by byte nor wakes the worker for each packet. Meanwhile the source is not read:
its own window closes.
"""
from lb._ext.linux cimport *
from lb._ext.state cimport *

cdef enum:
    PACES = 1                   # << source: this direction has a limit
    PACE_WAITS = 4              # << source: it waits in the wheel for tokens
    PACE_WAITS_ANY = 12
    BURSTS_PER_S = 4
    PORTIONS_PER_S = 50
    PORTION_BYTES = 4096        # or what a whole second brings


cdef inline uint64_t rate_of(const engine_t* e, const session_t* s, int source) noexcept nogil:
    """Bytes per second; 0: no limit (any more)."""
    if s.listener >= e.table.header.listeners_count:
        return 0
    return (e.table.listeners[s.listener].upload_max if source == CLIENT
            else e.table.listeners[s.listener].download_max)


cdef inline uint64_t portion_of(uint64_t rate) noexcept nogil:
    return max(rate // PORTIONS_PER_S, min(rate, <uint64_t>PORTION_BYTES))


cdef inline uint64_t burst_of(uint64_t rate) noexcept nogil:
    return max(rate // BURSTS_PER_S, <uint64_t>BLOCK_BYTES)


cdef inline uint64_t paced_bytes(const engine_t* e, const session_t* s, int source,
                                 uint64_t rate) noexcept nogil:
    """How much may move now; 0 as long as that is less than a portion."""
    cdef uint64_t burst = burst_of(rate)
    cdef double missing
    if s.paced_ns[source] <= e.now_ns:
        return burst
    missing = <double>(s.paced_ns[source] - e.now_ns) * <double>rate / 1e9
    return <uint64_t>(<double>burst - missing) if missing + <double>portion_of(rate) <= <double>burst else 0


cdef inline void take_tokens(const engine_t* e, session_t* s, int source, uint64_t rate,
                             uint64_t size) noexcept nogil:
    s.paced_ns[source] = (max(s.paced_ns[source], e.now_ns)
                          + <uint64_t>(<double>size * 1e9 / <double>rate))


cdef inline uint64_t paced_until_ms(const engine_t* e, const session_t* s, int source) noexcept nogil:
    """When there is a portion again."""
    cdef uint64_t rate = rate_of(e, s, source)
    cdef uint64_t early_ns
    if rate == 0:
        return e.now_ms + 1
    early_ns = <uint64_t>(<double>(burst_of(rate) - portion_of(rate)) * 1e9 / <double>rate)
    if s.paced_ns[source] <= e.now_ns + early_ns:
        return e.now_ms + 1
    return max((s.paced_ns[source] - early_ns) // 1000000 + 1, e.now_ms + 1)
