# cython: language_level=3
"""Maglev's table: which endpoint has which slot. Made where snapshots are compiled."""

from libc.stdint cimport uint64_t

# uint32 ids of endpoints, one for each of `size` slots. `members`: (id, name, weight), in order of the names.
# Raises ValueError where the size is no prime number or a weight is out of range.
cdef bytes maglev_slots(tuple members, size)
# How many this process made.
cdef uint64_t tables_made
