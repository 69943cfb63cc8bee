# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Who is let in.

Facts
  1  A token bucket is one number: when it will be full again (GCRA, ITU-T I.371). A token moves that by one
     interval, and was there if it then lies no more than a whole bucket ahead. So a bucket needs no clock of
     its own, and one compare and swap makes it exact over all workers. It holds one second's worth of tokens.
  2  A listener without a token lets its backlog wait. The worker that has a client there books the next token
     and comes back when that is due: workers with clients take turns, and nobody polls. A token is booked
     only for a client who is there, and one that was taken for nobody is returned.
  3  A source is an IPv4 address or the /64 of an IPv6 one, together with the listener. Peers on unix sockets
     are no source.
  4  Sessions per source: each worker counts its own, and sums over the others' tables. So the limit may be
     passed by as many as workers accept at the same moment: workers - 1. Those that were open when the limit
     was set are not counted.
  5  A cell is its source's for as long as it counts something: open sessions, or a bucket that is not full.
     A source that finds all SOURCE_WAYS cells of its set taken is let in and counted (sources_untracked). The
     hash has a key, so that nobody can choose sources that fall into one set.
  6  A dry run goes the same way. What it would have refused takes no token and is not counted as open: its
     numbers are those of the real thing.

Rejected: a stick table under a lock (workers share nothing that can be held); a counter per second (it lets
twice the rate pass around the turn of a second).
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from lb._ext.board cimport *
from lb._ext.debug cimport bug_on
from lb._ext.linux cimport *
from lb._ext.siphash cimport siphash
from lb._ext.state cimport *
from lb._ext.table cimport *

cdef enum:
    SWAPS_MAX = 1000            # lost in a row, to a bucket so busy that it has nothing left anyway
    MAPPED_HIGH = 0             # ::ffff:0:0/96, as two halves
    MAPPED_LOW = 0xFFFF

cdef uint64_t NEVER = <uint64_t>-1
cdef uint64_t SECOND_NS = 1000000000

cdef struct rate_t:
    uint64_t interval_ns        # between two tokens
    uint64_t whole_ns           # an empty bucket is full after this


cdef int admit(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    cdef int reason = judged(e, s, line)
    if reason == -1 or not line.dry_run:
        return reason
    e.listeners[s.listener].would_refuse[reason - REASON_REFUSED_ACL + WOULD_REFUSE_ACL] += 1
    return -1


cdef int judged(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    """The token last: a session that is refused for another reason takes none."""
    cdef uint64_t key
    cdef bint tracked = True
    if line.deny.given and is_in(&e.table, &line.deny, &s.client):
        return REASON_REFUSED_ACL
    if line.allow.given and not is_in(&e.table, &line.allow, &s.client):
        return REASON_REFUSED_ACL
    if not line.gates & (GATE_SOURCE_SESSIONS | GATE_SOURCE_RATE) or not is_source(&s.client):
        return -1
    key = source_key(e, s)
    if line.gates & GATE_SOURCE_SESSIONS:
        if source_open(e, key) >= line.sessions_max_per_source:
            return REASON_REFUSED_LIMIT
        tracked = enter_source(e, s, key)
    if line.gates & GATE_SOURCE_RATE and not take_of_source(e, key, line.rate_max_per_source, &tracked):
        if s.source != NONE:
            leave_source(e, s)
        return REASON_REFUSED_RATE
    if not tracked:
        e.listeners[s.listener].sources_untracked += 1
    return -1


# ---- Lists ------------------------------------------------------------------------------------------

cdef bint is_in(const table_t* table, const networks_t* networks, const address_t* address) noexcept nogil:
    cdef uint64_t high, low
    if address.any.sa_family == AF_INET:
        return is_in4(table.ranges4 + networks.v4_first, networks.v4_count, ntohl(address.v4.sin_addr.s_addr))
    if address.any.sa_family != AF_INET6:
        return networks.unix_peers
    high, low = half(address, 0), half(address, 8)
    if high == MAPPED_HIGH and low >> 32 == MAPPED_LOW:
        return is_in4(table.ranges4 + networks.v4_first, networks.v4_count, <uint32_t>low)
    return is_in6(table.ranges6 + networks.v6_first, networks.v6_count, high, low)


cdef uint64_t half(const address_t* address, int first) noexcept nogil:
    """Of an IPv6 address, in the order of the machine."""
    cdef uint64_t bits
    memcpy(&bits, &address.v6.sin6_addr.s6_addr[first], sizeof(bits))
    return be64toh(bits)


cdef bint is_in4(const range4_t* ranges, uint32_t count, uint32_t address) noexcept nogil:
    """Whether the last range that begins at the address or before it reaches it."""
    cdef uint32_t low = 0
    cdef uint32_t high = count
    cdef uint32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if ranges[middle].first <= address:
            low = middle + 1
        else:
            high = middle
    return low > 0 and address <= ranges[low - 1].last


cdef bint is_in6(const range6_t* ranges, uint32_t count, uint64_t address_high,
                 uint64_t address_low) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = count
    cdef uint32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if not_above(ranges[middle].first_high, ranges[middle].first_low, address_high, address_low):
            low = middle + 1
        else:
            high = middle
    return low > 0 and not_above(
        address_high, address_low, ranges[low - 1].last_high, ranges[low - 1].last_low)


cdef bint not_above(uint64_t high, uint64_t low, uint64_t other_high, uint64_t other_low) noexcept nogil:
    return high < other_high or (high == other_high and low <= other_low)


# ---- Token buckets ----------------------------------------------------------------------------------

cdef rate_t rate_of(uint32_t per_second) noexcept nogil:
    """Rounded up, so that no second sees more than it says."""
    cdef rate_t rate
    rate.interval_ns = (SECOND_NS + per_second - 1) // per_second
    rate.whole_ns = rate.interval_ns * per_second
    return rate


cdef uint64_t draw_token(uint64_t* full_ns, rate_t rate, uint64_t now_ns, bint may_wait) noexcept nogil:
    """When the token that was taken is due: now or before, or later if it may be waited for. NEVER: none."""
    cdef uint64_t before = load_acquire(full_ns)
    cdef uint64_t after, due
    cdef int _
    for _ in range(SWAPS_MAX):
        after = max(before, now_ns) + rate.interval_ns
        due = max(after, rate.whole_ns) - rate.whole_ns
        if due > now_ns and not may_wait:
            return NEVER
        if swap_if(full_ns, &before, after):
            return due
    return NEVER


cdef bint take_token(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil:
    if draw_token(bucket_of(e, here.listener), rate_of(line.rate_max), e.now_ns, False) == NEVER:
        return False
    here.token_ns = e.now_ns
    return True


cdef void book_token(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil:
    cdef rate_t rate = rate_of(line.rate_max)
    cdef uint64_t due = draw_token(bucket_of(e, here.listener), rate, e.now_ns, True)
    here.token_ns = due if due != NEVER else e.now_ns + rate.whole_ns
    e.listeners[here.listener].paced_total += 1


cdef void return_token(engine_t* e, listening_t* here) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[here.listener]
    if (here.token_ns and here.listener < e.table.header.listeners_count and line.present
            and line.rate_max):
        subtract(bucket_of(e, here.listener), rate_of(line.rate_max).interval_ns)
    here.token_ns = 0


cdef uint64_t* bucket_of(engine_t* e, uint32_t listener) noexcept nogil:
    return &e.board.rates[<size_t>listener * 8]


cdef void note_excess(engine_t* e, uint32_t listener, const listener_t* line) noexcept nogil:
    """Called before the session is counted."""
    cdef uint64_t* counts = e.listeners[listener].would_refuse
    if line.sessions_max and listener_open(&e.board, listener) >= line.sessions_max:
        counts[WOULD_REFUSE_LIMIT] += 1
    elif line.gates & GATE_RATE and draw_token(
            bucket_of(e, listener), rate_of(line.rate_max), e.now_ns, False) == NEVER:
        counts[WOULD_REFUSE_RATE] += 1


# ---- Sources ----------------------------------------------------------------------------------------

cdef bint is_source(const address_t* client) noexcept nogil:
    return client.any.sa_family == AF_INET or client.any.sa_family == AF_INET6


cdef uint64_t source_key(const engine_t* e, const session_t* s) noexcept nogil:
    """Never 0. Two sources that share one of 2^64 keys are one."""
    cdef uint64_t words[2]
    cdef uint64_t high, low
    words[0] = <uint64_t>s.listener << 8
    if s.client.any.sa_family == AF_INET:
        words[0], words[1] = words[0] | AF_INET, ntohl(s.client.v4.sin_addr.s_addr)
    else:
        high, low = half(&s.client, 0), half(&s.client, 8)
        if high == MAPPED_HIGH and low >> 32 == MAPPED_LOW:
            words[0], words[1] = words[0] | AF_INET, <uint32_t>low
        else:
            words[0], words[1] = words[0] | AF_INET6, high
    return max(siphash(e.board.header.key, words, sizeof(words)), <uint64_t>1)


cdef uint32_t first_way(uint64_t key) noexcept nogil:
    return <uint32_t>(key % (SOURCES_MAX // SOURCE_WAYS)) * SOURCE_WAYS


cdef uint64_t source_open(const engine_t* e, uint64_t key) noexcept nogil:
    """Over all workers. A cell that changes hands meanwhile counts for nobody."""
    cdef source_cell_t* cell
    cdef uint64_t open, total = 0
    cdef uint32_t worker, way
    for worker in range(e.board.count):
        cell = &e.board.sources[<size_t>worker * SOURCES_MAX + first_way(key)]
        for way in range(<uint32_t>SOURCE_WAYS):
            if load_acquire(&cell[way].key) == key:
                open = load_acquire(&cell[way].open)
                if load_acquire(&cell[way].key) == key:
                    total += open
    return total


cdef bint enter_source(engine_t* e, session_t* s, uint64_t key) noexcept nogil:
    """False: every cell that it may be in is another source's."""
    cdef uint32_t first = first_way(key)
    cdef uint32_t way, found = NONE
    for way in range(first, first + SOURCE_WAYS):
        if e.sources[way].key == key:
            found = way
            break
        if found == NONE and e.sources[way].open == 0:
            found = way
    if found == NONE:
        return False
    store_release(&e.sources[found].key, key)
    store_release(&e.sources[found].open, e.sources[found].open + 1)
    s.source = found
    return True


cdef void leave_source(engine_t* e, session_t* s) noexcept nogil:
    bug_on(e.sources[s.source].open == 0, "a source is left more often than entered")
    store_release(&e.sources[s.source].open, e.sources[s.source].open - 1)
    s.source = NONE


cdef bint take_of_source(engine_t* e, uint64_t key, uint32_t per_second, bint* tracked) noexcept nogil:
    """False: its bucket has no token."""
    cdef source_rate_t* cell = rate_cell(e, key)
    if cell == NULL:
        tracked[0] = False
        return True
    return draw_token(&cell.full_ns, rate_of(per_second), e.now_ns, False) != NEVER


cdef source_rate_t* rate_cell(engine_t* e, uint64_t key) noexcept nogil:
    """The source's, or one whose bucket is full, as a fresh one is. Two workers that meet a new source at the
    same moment may give it a cell each; the second is soon full, and free again."""
    cdef source_rate_t* first = &e.board.source_rates[first_way(key)]
    cdef uint64_t before
    cdef uint32_t way
    for way in range(<uint32_t>SOURCE_WAYS):
        if load_acquire(&first[way].key) == key:
            return &first[way]
    for way in range(<uint32_t>SOURCE_WAYS):
        before = load_acquire(&first[way].key)
        if load_acquire(&first[way].full_ns) <= e.now_ns and (
                swap_if(&first[way].key, &before, key) or before == key):
            return &first[way]
    return NULL


# ---- For tests --------------------------------------------------------------------------------------

def are_allowed(int snapshot_fd, list hosts) -> list:
    """Whether each is in the `allow` list of the first listener; `unix` is a peer on a unix socket."""
    cdef table_t table
    cdef const char* why = NULL
    cdef address_t address
    if map_table(snapshot_fd, &table, &why) == -1:
        raise ValueError(why.decode())
    found = []
    for host in hosts:
        memset(&address, 0, sizeof(address))
        text = host.encode()
        if host == "unix":
            address.any.sa_family = AF_UNIX
        elif ":" in host:
            address.v6.sin6_family = AF_INET6
            inet_pton(AF_INET6, <const char*>text, &address.v6.sin6_addr)
        else:
            address.v4.sin_family = AF_INET
            inet_pton(AF_INET, <const char*>text, &address.v4.sin_addr)
        found.append(is_in(&table, &table.listeners[0].allow, &address))
    unmap_table(&table)
    return found


def tokens_due(uint32_t per_second, list asked_ns, bint may_wait) -> list:
    """When the token is due that is asked for at each of these times, of one bucket; None: there is none."""
    cdef uint64_t full_ns = 0
    due = [draw_token(&full_ns, rate_of(per_second), now_ns, may_wait) for now_ns in asked_ns]
    return [None if one == NEVER else one for one in due]


cdef class SourceTables:
    """The tables of sources as one worker sees them, with keys and times that a test chooses."""

    cdef engine_t* e

    def __cinit__(self, int board_fd, uint32_t worker):
        self.e = <engine_t*>calloc(1, sizeof(engine_t))
        if map_board(board_fd, &self.e.board) == -1:
            raise ValueError("it is no scoreboard")
        self.e.sources = self.e.board.sources + <size_t>worker * SOURCES_MAX

    def __dealloc__(self):
        unmap_board(&self.e.board)
        free(self.e)

    def enter(self, uint64_t key):
        """The cell, or None: there was none left."""
        cdef session_t s
        s.source = NONE
        return s.source if enter_source(self.e, &s, key) else None

    def leave(self, uint32_t cell) -> None:
        cdef session_t s
        s.source = cell
        leave_source(self.e, &s)

    def open(self, uint64_t key) -> int:
        return source_open(self.e, key)

    def take(self, uint64_t key, uint32_t per_second, uint64_t now_ns):
        """Whether its bucket had a token; None: there was no cell left for it."""
        cdef bint tracked = True
        self.e.now_ns = now_ns
        taken = take_of_source(self.e, key, per_second, &tracked)
        return taken if tracked else None
