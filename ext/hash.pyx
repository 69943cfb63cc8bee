# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The hashing policies. Theory of operation.

Facts
  1  The pool's slots name every endpoint that has a weight, eligible or not; so a change of health does not
     change them. The table of maglev is made in maglev.pyx; that of source_hash is the weights themselves.
  2  The hash is of the client and the pool's key alone.

Consequences
  A client's probes, one slot after the other, are always the same, and it goes to the first endpoint among
  them that can have it. So a client whose endpoint is eligible stays, whatever becomes of the others; those
  of an endpoint that went DOWN are spread over the rest by weight, and come back to it when it is UP.
  Two workers send a client to the same endpoint, and so do two instances with the same key; but for the few
  clients that no probe helped, whose endpoint depends on ids.

Bounded load (Mirrokni, Thorup and Zadimoghaddam, 2018)
  An endpoint that has its share of the pool's sessions, times bound_percent, is passed by as one without room
  is. Shares add up to more than all sessions, so somebody is below; but counts of other workers may be a
  moment old, and then the bound gives way, not the session.

Rejected
  The next slots in the table: whoever lies behind an endpoint that is DOWN would get all of its clients.
  A table without those that are not eligible: one that goes DOWN would move clients of all others too.
"""
from lb._ext.board cimport endpoint_open, pool_open
from lb._ext.linux cimport *
from lb._ext.pick cimport PICK_FULL, PICK_NONE
from lb._ext.room cimport FITS, FULL, verdict, verdict_t
from lb._ext.siphash cimport mixed, siphash
from lb._ext.state cimport *
from lb._ext.table cimport HASH_SNI, HASH_SOURCE_IP_PORT, pool_t

from libc.string cimport memcpy

cdef enum:
    PROBES_MAX = 256            # with 2 of 100 endpoints eligible, 0.6 % of the clients need the walk


cdef uint32_t pick_by_hash(engine_t* e, const pool_t* pool, session_t* s) noexcept nogil:
    cdef const uint32_t* slots = e.table.ids + pool.hash_first
    cdef uint64_t share = 0
    cdef uint32_t endpoint
    cdef uint32_t laden = PICK_NONE  # the first that only the bound speaks against
    cdef int probe
    if not s.hashed:
        s.hash, s.hashed = client_hash(pool, s), 1
    if pool.eligible_count == 0:
        return PICK_NONE
    if pool.bound_percent:
        share = <uint64_t>pool.bound_percent * (pool_open(&e.board, pool - e.table.pools) + 1)
    if pool.hash_count:
        for probe in range(PROBES_MAX):
            endpoint = slots[mixed(s.hash, probe) % pool.hash_count]
            if e.table.endpoints[endpoint].eligible and verdict(e, s, endpoint) == FITS:
                if share == 0 or is_below(e, pool, endpoint, share):
                    return endpoint
                if laden == PICK_NONE:
                    laden = endpoint
    return walk(e, pool, s, share, laden)


cdef bint is_below(engine_t* e, const pool_t* pool, uint32_t endpoint, uint64_t share) noexcept nogil:
    """Below ceil(percent / 100 * sessions * weight / weights), in whole numbers."""
    cdef uint64_t is_open = endpoint_open(&e.board, endpoint)
    return is_open * 100 * pool.weight_sum < share * e.table.endpoints[endpoint].weight


cdef uint32_t walk(engine_t* e, const pool_t* pool, const session_t* s, uint64_t share,
                   uint32_t laden) noexcept nogil:
    """Nearly nothing is eligible, or fits: from the client's place on, over what is; else `laden`."""
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef uint32_t at = s.hash % pool.eligible_count
    cdef uint32_t outcome = laden
    cdef uint32_t _, endpoint
    cdef verdict_t found
    for _ in range(pool.eligible_count):
        endpoint = eligible[at]
        at = at + 1 if at + 1 < pool.eligible_count else 0
        found = verdict(e, s, endpoint)
        if found == FITS:
            if share == 0 or is_below(e, pool, endpoint, share):
                return endpoint
            if outcome >= PICK_FULL:
                outcome = endpoint
        elif found == FULL and outcome == PICK_NONE:
            outcome = PICK_FULL
    return outcome


# ---- The client -------------------------------------------------------------------------------------

cdef uint64_t client_hash(const pool_t* pool, const session_t* s) noexcept nogil:
    """Of a unix socket's client nothing is known: all have the same hash."""
    cdef uint8_t place[18]
    cdef size_t size = 0
    cdef uint16_t port = 0
    if pool.hash_on == HASH_SNI and s.details != NULL and s.details.name_size:
        return name_hash(pool, s.details)
    if s.client.any.sa_family == AF_INET:
        memcpy(place, &s.client.v4.sin_addr, 4)
        size, port = 4, s.client.v4.sin_port
    elif s.client.any.sa_family == AF_INET6:
        memcpy(place, &s.client.v6.sin6_addr, 16)
        size, port = 16, s.client.v6.sin6_port
    if size and pool.hash_on == HASH_SOURCE_IP_PORT:
        memcpy(place + size, &port, 2)
        size += 2
    return siphash(pool.hash_key, place, size)


cdef uint64_t name_hash(const pool_t* pool, const details_t* details) noexcept nogil:
    """Names are the same in capitals (RFC 4343)."""
    cdef char name[NAME_BYTES_MAX]
    cdef int i
    cdef char c
    for i in range(details.name_size):
        c = details.name[i]
        name[i] = c + 32 if 65 <= c <= 90 else c
    return siphash(pool.hash_key, name, details.name_size)
