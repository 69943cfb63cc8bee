# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The wheel: five levels of 64 slots; level l has slots of 64^l ms, and a bit for each that is filled.

Facts. An entry goes to the level of the highest bit group in which its deadline differs from now: so its slot
lies ahead of the level's hand, and it is met when the hand passes. On being met it is either due, or goes
down to a finer level. Turning costs what is met, not what is in the wheel; the bits tell when to turn next.

Rejected: a heap (log n for each session, for deadlines that are nearly never reached); one timerfd for each
session (a descriptor and two system calls).
"""
from libc.stdlib cimport calloc, free

from lb._ext.debug cimport bug_on, count_down
from lb._ext.linux cimport highest_bit, lowest_bit
from lb._ext.state cimport *

cdef enum:
    LEVEL_BITS = 6

cdef uint64_t NEVER = <uint64_t>-1
cdef uint64_t SPAN_MS = (<uint64_t>1 << (LEVEL_BITS * WHEEL_LEVELS)) - 1


cdef void start_wheel(engine_t* e) noexcept nogil:
    cdef int i
    for i in range(WHEEL_DUE + 1):
        e.wheel.heads[i] = NONE
    for i in range(WHEEL_LEVELS):
        e.wheel.filled[i] = 0
    e.wheel.due_last = NONE
    e.wheel.now_ms, e.wheel.armed_ms = e.now_ms, NEVER


cdef void set_deadline(engine_t* e, session_t* s, uint64_t deadline_ms) noexcept nogil:
    cdef wheel_t* w = &e.wheel
    cdef int level
    cdef uint32_t slot
    clear_deadline(e, s)
    s.deadline_ms = deadline_ms
    if deadline_ms <= w.now_ms:
        link_last(e, s)
        return
    if deadline_ms - w.now_ms > SPAN_MS:
        deadline_ms = w.now_ms + SPAN_MS
    level = highest_bit(deadline_ms ^ w.now_ms) // LEVEL_BITS
    if level >= WHEEL_LEVELS:  # a carry into a bit above the wheel: the farthest slot of the top level
        level = WHEEL_LEVELS - 1
    slot = (deadline_ms >> (LEVEL_BITS * level)) & (WHEEL_SLOTS - 1)
    w.filled[level] |= <uint64_t>1 << slot
    link(e, s, level * WHEEL_SLOTS + slot)


cdef void clear_deadline(engine_t* e, session_t* s) noexcept nogil:
    cdef uint32_t place = s.wheel_place
    if place == NONE:
        return
    count_down(&e.deadlines_set)
    bug_on(place > WHEEL_DUE, "a deadline is in no list of the wheel")
    bug_on((e.wheel.heads[place] if s.wheel_prev == NONE else e.slots[s.wheel_prev].wheel_next) != s.index,
           "a deadline is in another list than it says")
    bug_on(s.wheel_next != NONE and e.slots[s.wheel_next].wheel_prev != s.index,
           "a deadline has another neighbour")
    if s.wheel_prev != NONE:
        e.slots[s.wheel_prev].wheel_next = s.wheel_next
    else:
        e.wheel.heads[place] = s.wheel_next
        if s.wheel_next == NONE and place != WHEEL_DUE:
            e.wheel.filled[place // WHEEL_SLOTS] &= ~(<uint64_t>1 << (place % WHEEL_SLOTS))
    if s.wheel_next != NONE:
        e.slots[s.wheel_next].wheel_prev = s.wheel_prev
    elif place == WHEEL_DUE:
        e.wheel.due_last = s.wheel_prev
    s.wheel_place = NONE


cdef void link(engine_t* e, session_t* s, uint32_t place) noexcept nogil:
    cdef uint32_t head = e.wheel.heads[place]
    e.deadlines_set += 1
    s.wheel_place, s.wheel_prev, s.wheel_next = place, NONE, head
    if head != NONE:
        e.slots[head].wheel_prev = s.index
    e.wheel.heads[place] = s.index


cdef void link_last(engine_t* e, session_t* s) noexcept nogil:
    """Among those that are due."""
    cdef uint32_t last = e.wheel.due_last
    e.deadlines_set += 1
    s.wheel_place, s.wheel_prev, s.wheel_next = WHEEL_DUE, last, NONE
    if last == NONE:
        e.wheel.heads[WHEEL_DUE] = s.index
    else:
        e.slots[last].wheel_next = s.index
    e.wheel.due_last = s.index


cdef void turn_wheel(engine_t* e, uint64_t now_ms) noexcept nogil:
    cdef wheel_t* w = &e.wheel
    cdef uint64_t before = w.now_ms
    cdef uint64_t passed, met
    cdef uint32_t lists[WHEEL_LEVELS * WHEEL_SLOTS]
    cdef uint32_t slot, count = 0
    cdef int level, first
    if now_ms <= before:
        return
    for level in range(WHEEL_LEVELS):
        passed = (now_ms >> (LEVEL_BITS * level)) - (before >> (LEVEL_BITS * level))
        if passed == 0:
            break
        first = <int>((before >> (LEVEL_BITS * level)) + 1) & (WHEEL_SLOTS - 1)
        met = NEVER if passed >= WHEEL_SLOTS else rotated(((<uint64_t>1) << passed) - 1, first)
        met &= w.filled[level]
        w.filled[level] &= ~met
        while met:
            slot = lowest_bit(met)
            met &= met - 1
            lists[count] = w.heads[level * WHEEL_SLOTS + slot]
            w.heads[level * WHEEL_SLOTS + slot] = NONE
            count += 1
    w.now_ms = now_ms
    for slot in range(count):
        put_back(e, lists[slot])


cdef void put_back(engine_t* e, uint32_t first) noexcept nogil:
    """Every entry of a detached list goes where it belongs now: to those due, or to a finer level."""
    cdef session_t* s
    while first != NONE:
        s = &e.slots[first]
        first = s.wheel_next
        s.wheel_place = NONE
        count_down(&e.deadlines_set)
        set_deadline(e, s, s.deadline_ms)


cdef uint64_t rotated(uint64_t bits, int by) noexcept nogil:
    return (bits << by) | (bits >> ((64 - by) & 63)) if by else bits


cdef session_t* take_due(engine_t* e) noexcept nogil:
    cdef uint32_t first = e.wheel.heads[WHEEL_DUE]
    if first == NONE:
        return NULL
    bug_on(e.slots[first].deadline_ms > e.wheel.now_ms, "a deadline is met too early")
    clear_deadline(e, &e.slots[first])
    return &e.slots[first]


cdef bint some_due(const engine_t* e) noexcept nogil:
    return e.wheel.heads[WHEEL_DUE] != NONE


cdef uint64_t next_turn_ms(const engine_t* e) noexcept nogil:
    cdef const wheel_t* w = &e.wheel
    cdef uint64_t best = NEVER
    cdef uint64_t hand, bits, at
    cdef int level
    if w.heads[WHEEL_DUE] != NONE:
        return w.now_ms
    for level in range(WHEEL_LEVELS):
        if w.filled[level]:
            hand = w.now_ms >> (LEVEL_BITS * level)
            bits = rotated(w.filled[level], (64 - <int>((hand + 1) & 63)) & 63)
            at = (hand + 1 + lowest_bit(bits)) << (LEVEL_BITS * level)
            best = min(best, at)
    return best


# ---- For tests --------------------------------------------------------------------------------------

def deadlines_met(list deadlines_ms, list turns_ms) -> list:
    """Puts sessions with these deadlines into a wheel at 0 and turns it to each time; what was due at each,
    in the order in which it is served.

    Each entry of the answer: (indexes that were due, the next turn that the wheel asked for or None).
    """
    cdef engine_t* e = <engine_t*>calloc(1, sizeof(engine_t))
    cdef session_t* s
    cdef uint32_t i
    e.slots = <session_t*>calloc(max(len(deadlines_ms), 1), sizeof(session_t))
    start_wheel(e)
    for i in range(len(deadlines_ms)):
        e.slots[i].index, e.slots[i].wheel_place = i, NONE
        set_deadline(e, &e.slots[i], deadlines_ms[i])
    found = []
    for now_ms in turns_ms:
        turn_wheel(e, now_ms)
        due = []
        s = take_due(e)
        while s != NULL:
            due.append(s.index)
            s = take_due(e)
        following = next_turn_ms(e)
        found.append((due, None if following == NEVER else following))
    free(e.slots)
    free(e)
    return found
