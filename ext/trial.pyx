# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Picks without sockets: what tests and benches ask of the policies. Nothing of lb imports this.

Each function takes an Engine that is open and has a snapshot, and whose loop does not turn meanwhile.
"""
from libc.string cimport memcpy, memset

from lb._ext.board cimport ENDPOINTS_MAX, POOLS_MAX
from lb._ext.cost cimport connect_failed, connect_took, cost_of, first_byte_took
from lb._ext.engine cimport Engine
from lb._ext.hash cimport client_hash
from lb._ext.linux cimport *
from lb._ext.maglev cimport tables_made
from lb._ext.pick cimport PICK_FULL, PICK_NONE, pick
from lb._ext.siphash cimport mixed, siphash
from lb._ext.state cimport *

NOTHING = <uint32_t>PICK_NONE
ALL_FULL = <uint32_t>PICK_FULL


# ---- Setting the scene ------------------------------------------------------------------------------

def set_seed(Engine engine, uint32_t seed) -> None:
    engine.e.random = seed | 1


def set_clock(Engine engine, uint64_t now_ns) -> None:
    engine.e.now_ns, engine.e.now_ms = now_ns, now_ns // 1000000


def set_open(Engine engine, uint32_t worker, uint32_t endpoint, uint32_t count, uint32_t pool=0) -> None:
    """Sessions in a worker's column of the scoreboard: the endpoint's, and the pool's along with them."""
    cdef uint32_t* open = &engine.e.board.endpoint_open[<size_t>worker * ENDPOINTS_MAX + endpoint]
    engine.e.board.pools[<size_t>worker * POOLS_MAX + pool].sessions_open += count - open[0]
    open[0] = count


# ---- Picking ----------------------------------------------------------------------------------------

def pick_one(Engine engine, str host="", uint16_t port=0, str name="", tried=(), uint32_t pool=0) -> int:
    """For a client (no host: of a unix socket), with the server name of its ClientHello.

    An endpoint id, NOTHING or ALL_FULL.
    """
    cdef session_t s
    cdef details_t details
    put_client(&s, &details, host, port, name)
    for number in tried:
        s.tried[s.attempts] = number
        s.attempts += 1
    return pick(engine.e, &engine.e.table.pools[pool], &s)


def hash_of(Engine engine, str host="", uint16_t port=0, str name="", uint32_t pool=0) -> int:
    cdef session_t s
    cdef details_t details
    put_client(&s, &details, host, port, name)
    return client_hash(&engine.e.table.pools[pool], &s)


def slots_of(Engine engine, uint32_t pool=0) -> list:
    """The endpoint ids of a hashing policy's slots."""
    cdef const uint32_t* slots = engine.e.table.ids + engine.e.table.pools[pool].hash_first
    return [slots[i] for i in range(engine.e.table.pools[pool].hash_count)]


def maglev_tables_made() -> int:
    """By this process, ever."""
    return tables_made


def time_picks(Engine engine, uint32_t count, uint32_t pool=0) -> int:
    """Nanoseconds for so many picks, each of another IPv4 client."""
    cdef session_t s
    cdef details_t details
    cdef uint64_t from_ns
    cdef uint32_t i, sum = 0
    put_client(&s, &details, "10.0.0.0", 0, "")
    with nogil:
        from_ns = clock_ns(CLOCK_MONOTONIC)
        for i in range(count):
            s.hashed, s.client.v4.sin_addr.s_addr = 0, i
            sum += pick(engine.e, &engine.e.table.pools[pool], &s)
        from_ns = clock_ns(CLOCK_MONOTONIC) - from_ns
    return from_ns + (sum & 0)


cdef int put_client(session_t* s, details_t* details, str host, uint16_t port, str name) except -1:
    data = host.encode()
    cdef const char* text = data
    memset(s, 0, sizeof(session_t))
    if ":" in host:
        s.client.v6.sin6_family, s.client.v6.sin6_port = AF_INET6, htons(port)
        inet_pton(AF_INET6, text, &s.client.v6.sin6_addr)
    elif host:
        s.client.v4.sin_family, s.client.v4.sin_port = AF_INET, htons(port)
        inet_pton(AF_INET, text, &s.client.v4.sin_addr)
    else:
        s.client.any.sa_family = AF_UNIX
    if name:
        spelt = name.encode()
        details.name_size = len(spelt)
        memcpy(details.name, <const char*>spelt, len(spelt))
        s.details = details
    return 0


# ---- Costs ------------------------------------------------------------------------------------------

def note_connect(Engine engine, uint32_t endpoint, uint64_t took_ns, bint failed=False,
                 uint32_t pool=0) -> None:
    """A session of this engine connected, or could not, `took_ns` after it began."""
    cdef session_t s
    memset(&s, 0, sizeof(s))
    s.endpoint, s.pool, s.connect_from_ns = endpoint, pool, engine.e.now_ns - took_ns
    if failed:
        connect_failed(engine.e, &s)
    else:
        connect_took(engine.e, &s)


def note_first_byte(Engine engine, uint32_t endpoint, uint64_t connected_ns, uint64_t active_ms) -> None:
    cdef session_t s
    memset(&s, 0, sizeof(s))
    s.endpoint, s.connected_ns = endpoint, connected_ns
    first_byte_took(engine.e, &s, active_ms)


def cost_ns(Engine engine, uint32_t endpoint, uint32_t pool=0) -> float:
    return cost_of(engine.e, &engine.e.table.pools[pool], endpoint)


# ---- Hashes -----------------------------------------------------------------------------------------

def sip_hash(bytes key, bytes data) -> int:
    cdef uint64_t words[2]
    memcpy(words, <const char*>key, 16)
    return siphash(words, <const char*>data, len(data))


def mixed_hash(uint64_t hash, uint64_t number) -> int:
    return mixed(hash, number)
