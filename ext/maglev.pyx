# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Maglev's table (Eisenbud et al., NSDI 2016, section 3.4). Theory of operation.

Facts
  1  Each member has an order of its own in which it likes the slots: from an offset, in steps of a skip, both
     hashed from its name; the size is a prime number, so that it comes past every slot.
  2  Members take turns; at each, one takes the slot it likes best among those that are left. Who likes a slot
     early has it, whoever else is there: that is why few slots change hands when a member comes or goes.
  3  In a round, who has waited longest goes first; in the first round, the first by name.
  4  Weights are turns: after round k a member of weight w has had k * w / w_max of them, rounded, and a first
     one in the first round. So a member never has none, and its slots are off its share by half of one, and
     by what the others' halves leave it: with n members at most n / (2 * size) of its share.

Consequences
  The table depends on the names, the weights and the size alone, not on the order of the file, on health or
  on which instance makes it. Its keys are constants: to change them moves every client of everybody.
  It takes some size * ln(size) steps. A calendar says who has a turn in a round; to ask every member in
  every round would be a thousand times the work where one of them is heavy.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from lb._ext.siphash cimport siphash

cdef enum:
    NOBODY = 0xFFFFFFFF
    WEIGHT_MAX = 1 << 16        # the calendar has room for that
    SLOTS_MAX = 1 << 24

cdef uint64_t[2] OFFSET_KEY
cdef uint64_t[2] SKIP_KEY
OFFSET_KEY[:] = [0, 1]
SKIP_KEY[:] = [0, 2]

tables_made = 0

cdef struct member_t:
    uint32_t id
    uint32_t at                 # the slot it likes best among those it did not ask for yet
    uint32_t skip
    uint32_t weight
    uint32_t turns              # had so far
    uint32_t next               # in the same round

cdef struct round_t:
    uint32_t first
    uint32_t last


cdef bytes maglev_slots(tuple members, size):
    global tables_made
    cdef uint32_t slots_count = size
    cdef uint32_t count = len(members)
    cdef uint32_t* slots
    cdef member_t* made
    cdef bint done
    if not is_prime(slots_count) or slots_count > SLOTS_MAX:
        raise ValueError(f"a table of {size} slots; a prime number below {SLOTS_MAX} is needed")
    if not members:
        return b""
    slots = <uint32_t*>malloc(slots_count * sizeof(uint32_t))
    made = <member_t*>calloc(count, sizeof(member_t))
    try:
        if slots == NULL or made == NULL:
            raise MemoryError
        for index, (number, name, weight) in enumerate(members):
            put_member(&made[index], number, name.encode(), weight, slots_count)
        with nogil:
            done = fill(slots, slots_count, made, count)
        if not done:
            raise MemoryError
        tables_made += 1
        return (<char*>slots)[:slots_count * sizeof(uint32_t)]
    finally:
        free(slots)
        free(made)


cdef int put_member(member_t* out, number, bytes name, weight, uint32_t slots_count) except -1:
    cdef const char* data = name
    if not 1 <= weight <= WEIGHT_MAX:
        raise ValueError(f"endpoint {name.decode()}: weight {weight}; 1 to {WEIGHT_MAX} are possible")
    out.id, out.weight = number, weight
    out.at = siphash(OFFSET_KEY, data, len(name)) % slots_count
    out.skip = 1 + siphash(SKIP_KEY, data, len(name)) % (slots_count - 1) if slots_count > 2 else 1
    return 0


cdef bint is_prime(uint32_t number) noexcept nogil:
    cdef uint64_t divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return number > 1


cdef bint fill(uint32_t* slots, uint32_t slots_count, member_t* members, uint32_t count) noexcept nogil:
    """False: there was no memory. The heaviest has a turn in every round, so rounds come to an end."""
    cdef uint64_t weight_max = 1
    cdef uint64_t round_number = 1
    cdef uint64_t rounds_count
    cdef uint32_t left = slots_count
    cdef uint32_t index, following
    cdef round_t* rounds
    cdef round_t* here
    for index in range(count):
        weight_max = max(weight_max, <uint64_t>members[index].weight)
    rounds_count = 2 * weight_max + 2  # nobody's next turn is further off
    rounds = <round_t*>malloc(rounds_count * sizeof(round_t))
    if rounds == NULL:
        return False
    memset(rounds, 0xFF, rounds_count * sizeof(round_t))
    memset(slots, 0xFF, slots_count * sizeof(uint32_t))
    for index in range(count):
        append(&rounds[1], members, index)
    while left:
        here = &rounds[round_number % rounds_count]
        index, here.first = here.first, NOBODY
        while index != NOBODY and left:
            following = members[index].next
            take_slot(slots, slots_count, &members[index])
            left -= 1
            append(&rounds[next_round(&members[index], weight_max) % rounds_count], members, index)
            index = following
        round_number += 1
    free(rounds)
    return True


cdef void append(round_t* here, member_t* members, uint32_t index) noexcept nogil:
    members[index].next = NOBODY
    if here.first == NOBODY:
        here.first = index
    else:
        members[here.last].next = index
    here.last = index


cdef void take_slot(uint32_t* slots, uint32_t slots_count, member_t* member) noexcept nogil:
    """One is left: it comes past every slot."""
    cdef uint32_t at = member.at
    while slots[at] != NOBODY:
        at += member.skip
        if at >= slots_count:
            at -= slots_count
    slots[at] = member.id
    member.at = at
    member.turns += 1


cdef uint64_t next_round(const member_t* member, uint64_t weight_max) noexcept nogil:
    """The first in which its share of turns, rounded, is more than it had."""
    cdef uint64_t twice = 2 * <uint64_t>member.weight
    return ((2 * <uint64_t>member.turns + 1) * weight_max + twice - 1) // twice
