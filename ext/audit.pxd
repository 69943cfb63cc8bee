# cython: language_level=3
"""What must hold between two turns of a session, and of the whole engine. Only in the debug build:
in a release there is nothing behind these names.

Each count of the engine is counted again from the slots themselves: what a slot owns is all there is.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from lb._ext.debug cimport DEBUG, bug_on
from lb._ext.pace cimport PACE_WAITS
from lb._ext.state cimport *

cdef enum:
    AUDITED_SLOTS_MAX = 64      # with so few, the whole engine is audited after each step
    AUDIT_EVERY_STEPS = 64      # with more

cdef struct tally_t:
    # What the slots hold, all together.
    uint32_t slots
    uint32_t descriptors
    uint32_t blocks
    uint32_t pipes
    uint32_t details
    uint32_t deadlines
    uint32_t queued
    uint32_t starved
    uint32_t retrying
    uint32_t ready
    uint64_t alive
    uint64_t counted


# ---- One session ------------------------------------------------------------------------------------

cdef inline void check_session(const session_t* s) noexcept nogil:
    """After its turn, whatever that was."""
    cdef int flags
    if not DEBUG:
        return
    flags = s.side[CLIENT].flags | s.side[UPSTREAM].flags
    if s.state == FREE:
        check_free(s)
        return
    check_side(&s.side[CLIENT])
    check_side(&s.side[UPSTREAM])
    bug_on(s.counted and (s.endpoint == NONE or s.pool == NONE), "counted nowhere")
    if s.state == RELAYING:
        check_relaying(s)
    elif s.state == LINGERING:
        bug_on(s.side[s.linger_side].fd == -1, "it lingers on a side that is gone")
        bug_on(s.side[1 - s.linger_side].fd != -1, "it lingers, and both sides are there")
    else:
        bug_on(s.side[CLIENT].fd == -1, "a client that waits has no descriptor")
        bug_on(has_any(&s.side[CLIENT]) or has_any(&s.side[UPSTREAM]), "bytes are kept too early")
        bug_on(s.connected_ns != 0, "connected, and not relaying")
    if s.state == CONNECTING:
        bug_on(s.side[UPSTREAM].fd == -1 or s.endpoint == NONE or not s.counted, "it connects to nobody")
    elif s.state < CONNECTING:
        bug_on(s.side[UPSTREAM].fd != -1 or s.counted, "it waits, and has an endpoint")
    bug_on(s.wheel_place == NONE and not s.ready
           and (s.state != RELAYING or s.idle_ms or flags & (SHUT | FAILED | BROKEN)),
           "a wait without a deadline")


cdef inline void check_free(const session_t* s) noexcept nogil:
    if not s.ready and s.wheel_place != NONE:
        return  # in the free list: poisoned
    bug_on(s.side[CLIENT].fd != -1 or s.side[UPSTREAM].fd != -1, "it ended, and has a descriptor")
    bug_on(has_any(&s.side[CLIENT]) or has_any(&s.side[UPSTREAM]), "it ended, and keeps bytes")
    bug_on(s.details != NULL or s.opening != NULL, "it ended, and owns memory")
    bug_on(s.wheel_place != NONE or s.counted, "it ended, and is counted still")


cdef inline bint has_any(const side_t* here) noexcept nogil:
    return here.kept != NULL or here.pipe != NULL


cdef inline void check_side(const side_t* here) noexcept nogil:
    bug_on(here.kept != NULL and here.pipe != NULL, "kept in a block and in a pipe")
    bug_on((here.kept != NULL) != (here.kept_size != 0), "a block without bytes, or bytes without a block")
    bug_on(here.kept != NULL and <uint64_t>here.kept_from + here.kept_size > BLOCK_BYTES, "beyond its block")
    bug_on(here.pipe != NULL and here.pipe.size == 0, "an empty pipe is held")
    bug_on(here.fd == -1 and has_any(here), "bytes are kept for nobody")


cdef inline void check_relaying(const session_t* s) noexcept nogil:
    bug_on(s.side[CLIENT].fd == -1 or s.side[UPSTREAM].fd == -1, "it relays, and a side is gone")
    bug_on(s.endpoint == NONE or not s.counted or not s.connected_ns, "it relays to nobody")
    check_direction(s, CLIENT)
    check_direction(s, UPSTREAM)


cdef inline void check_direction(const session_t* s, int source) noexcept nogil:
    cdef const side_t* giver = &s.side[source]
    cdef const side_t* taker = &s.side[1 - source]
    bug_on(taker.flags & SHUT and has_any(taker), "an end of stream was passed on before the bytes")
    bug_on(taker.flags & SHUT and not giver.flags & FINISHED, "an end of stream was passed on that none sent")
    bug_on(not s.ready and giver.flags & READABLE and not giver.flags & FINISHED and not has_any(taker)
           and not taker.flags & (SHUT | BROKEN) and not s.pacing & (PACE_WAITS << source),
           "there is something to read, and nobody will")
    bug_on(s.pacing & (PACE_WAITS << source) and s.wheel_place == NONE,
           "tokens are waited for, and no deadline")


# ---- The engine -------------------------------------------------------------------------------------

cdef inline void audit(const engine_t* e) noexcept nogil:
    """Between two steps. With many slots, now and then."""
    cdef tally_t tally
    if not DEBUG or (e.slots_high > AUDITED_SLOTS_MAX and e.cell.steps_total % AUDIT_EVERY_STEPS):
        return
    take_stock(e, &tally)
    bug_on(tally.slots != e.slots_used, "slots are miscounted")
    bug_on(tally.descriptors != e.descriptors_open, "descriptors are miscounted")
    bug_on(tally.blocks != e.blocks_used or e.blocks_used > e.blocks_made, "blocks are miscounted")
    bug_on(tally.pipes != e.pipes_used or e.pipes_used > e.pipes_made, "pipes are miscounted")
    bug_on(tally.details != e.details_used or e.details_used > e.details_made, "details are miscounted")
    bug_on(tally.deadlines != e.deadlines_set, "deadlines are miscounted")
    bug_on(tally.queued != e.queued_count, "queued sessions are miscounted")
    bug_on(tally.starved != e.starved_count, "starved sessions are miscounted")
    bug_on(tally.alive != e.cell.sessions_open, "open sessions are miscounted")
    check_gauges(e, &tally)
    check_ready(e, tally.ready)
    check_wheel(e)


cdef inline void take_stock(const engine_t* e, tally_t* tally) noexcept nogil:
    cdef const session_t* s
    cdef uint32_t index, unused = 0, following = e.slots_free
    memset(tally, 0, sizeof(tally_t))
    while following != NONE and unused < e.slots_high:
        unused += 1
        bug_on(e.slots[following].state != FREE or e.slots[following].ready, "a used slot is listed as free")
        following = e.slots[following].next_ready
    bug_on(following != NONE, "the free list goes round")
    for index in range(e.slots_high):
        s = &e.slots[index]
        bug_on(s.index != index, "a slot has another's index")
        tally.slots += 1 if s.state != FREE or s.ready else 0
        tally.ready += s.ready
        if s.state != FREE:
            check_session(s)
            count_held(s, tally)
    bug_on(tally.slots + unused != e.slots_high, "a slot is neither used nor free")


cdef inline void count_held(const session_t* s, tally_t* tally) noexcept nogil:
    cdef int side
    for side in range(2):
        tally.descriptors += s.side[side].fd != -1
        tally.blocks += s.side[side].kept != NULL
        tally.pipes += s.side[side].pipe != NULL
    tally.blocks += s.opening != NULL
    tally.details += s.details != NULL
    tally.deadlines += s.wheel_place != NONE
    tally.queued += s.state == QUEUED
    tally.starved += s.state == STARVED
    tally.retrying += s.retrying
    tally.alive += 1
    tally.counted += s.counted


cdef inline void check_gauges(const engine_t* e, const tally_t* tally) noexcept nogil:
    cdef uint64_t endpoints = 0, listeners = 0, pools = 0, queued = 0, starved = 0, retrying = 0
    cdef uint32_t i
    for i in range(e.board.header.endpoints_high):
        endpoints += e.open[i]
    for i in range(e.board.header.listeners_high):
        listeners += e.listener_open[i]
        starved += e.starved[i]
    for i in range(e.board.header.pools_high):
        pools += e.pools[i].sessions_open
        queued += e.pools[i].queued
        retrying += e.retrying[i].open
        bug_on(e.retrying[i].fresh_ms == e.now_ms and e.retrying[i].fresh > e.retrying[i].open,
               "more retries are fresh than there are")
    bug_on(endpoints != tally.counted, "the endpoints' gauges are not what sessions they have")
    bug_on(listeners != tally.alive, "the listeners' gauges are not what sessions they have")
    bug_on(pools != tally.counted, "the pools' gauges are not what sessions they have")
    bug_on(queued != tally.queued, "the pools' queues are not who waits in them")
    bug_on(starved != tally.starved, "listeners are not as starved as their sessions")
    bug_on(retrying != tally.retrying, "the pools' retries are not who is on one")


cdef inline void check_ready(const engine_t* e, uint32_t ready) noexcept nogil:
    cdef uint32_t index = e.ready_first, last = NONE, count = 0
    while index != NONE and count <= ready:
        bug_on(not e.slots[index].ready, "a session is on the ready list, and does not know it")
        last = index
        index = e.slots[index].next_ready
        count += 1
    bug_on(count != ready, "a session that is ready is not on the list")
    bug_on(last != e.ready_last, "the ready list has another end")


cdef inline void check_wheel(const engine_t* e) noexcept nogil:
    cdef uint32_t place, index, before, count = 0
    for place in range(WHEEL_DUE + 1):
        index, before = e.wheel.heads[place], NONE
        bug_on(place < WHEEL_DUE and (index != NONE) != is_marked(e, place), "the wheel's bits are wrong")
        while index != NONE and count <= e.deadlines_set:
            bug_on(e.slots[index].wheel_place != place, "a deadline is in another list than it says")
            bug_on(e.slots[index].wheel_prev != before, "a deadline has another neighbour")
            before = index
            index = e.slots[index].wheel_next
            count += 1
    bug_on(count != e.deadlines_set, "a deadline is in no list")


cdef inline bint is_marked(const engine_t* e, uint32_t place) noexcept nogil:
    return (e.wheel.filled[place // WHEEL_SLOTS] >> (place % WHEEL_SLOTS)) & 1


cdef inline void check_closed(const engine_t* e) noexcept nogil:
    """After the last session and the spares: nothing is left."""
    cdef tally_t nothing
    if not DEBUG:
        return
    memset(&nothing, 0, sizeof(nothing))
    bug_on(e.slots_used or e.descriptors_open or e.deadlines_set or e.queued_count or e.starved_count,
           "a session outlives its engine")
    bug_on(e.blocks_made or e.pipes_made or e.details_made, "memory outlives its engine")
    bug_on(e.blocks_used or e.pipes_used or e.details_used, "memory is held by nobody")
    bug_on(e.paused_count or e.cell.sessions_open, "the closed engine counts something")
    if e.slots_high:  # else its gauges may be another's: a trial of picks sets them itself
        check_gauges(e, &nothing)
