# cython: language_level=3
"""The ring: whole lines of the access log, from one worker (it alone puts) to one writer (it alone takes).

`head` counts bytes put, `tail` bytes taken, both for ever; a byte's place is its count modulo RING_BYTES. A
line that does not fit is dropped and counted by the worker: it waits neither for a disk nor for a reader.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    RING_BYTES = 1 << 22        # some 10 000 lines: half a second at 20 000 sessions per second
    RING_HEAD_BYTES = 4096

cdef struct ring_t:
    uint64_t magic
    uint32_t layout
    uint32_t unused
    uint64_t pad[6]
    uint64_t head               # written by the worker alone
    uint64_t pad_head[7]
    uint64_t tail               # written by the writer alone

cdef ring_t* map_ring(int fd) noexcept nogil
cdef void unmap_ring(ring_t* ring) noexcept nogil
cdef bint put_line(ring_t* ring, const char* line, uint32_t size) noexcept nogil
