# cython: language_level=3
"""Latencies in log-linear buckets, after HdrHistogram: 64 buckets per power of two, error at most 1.6 %.

A histogram is plain memory that its owner zeroes; recording is O(1) and never fails: what is longer than
2^42 ns (73 minutes) counts in the last bucket.
"""
from libc.stdint cimport uint64_t

cdef enum:
    SUB_BITS = 6
    SUB = 64
    BUCKETS = 2432  # (42 - SUB_BITS + 2) * SUB

cdef extern from *:
    int __builtin_clzll(unsigned long long value) nogil

cdef struct histogram_t:
    uint64_t count
    uint64_t sum_ns
    uint64_t max_ns
    uint64_t buckets[BUCKETS]


cdef inline void record(histogram_t* h, uint64_t ns) noexcept nogil:
    cdef int shift, index = <int>ns
    if ns >= SUB:
        shift = 63 - SUB_BITS - __builtin_clzll(ns)
        index = shift * SUB + <int>(ns >> shift)
        if index >= BUCKETS or shift > 42:
            index = BUCKETS - 1
    h.buckets[index] += 1
    h.count += 1
    h.sum_ns += ns
    if ns > h.max_ns:
        h.max_ns = ns


cdef inline uint64_t quantile_ns(const histogram_t* h, double q) noexcept nogil:
    """The middle of the bucket in which the q-th of all values lies; 0 when there is none."""
    cdef uint64_t seen = 0, wanted = <uint64_t>(q * <double>h.count)
    cdef int i, shift
    if wanted >= h.count:
        return h.max_ns
    for i in range(BUCKETS):
        seen += h.buckets[i]
        if seen > wanted:
            if i < 2 * SUB:
                return <uint64_t>i
            shift = i // SUB - 1
            return ((<uint64_t>(i - shift * SUB)) << shift) + (<uint64_t>1 << shift) // 2
    return h.max_ns
