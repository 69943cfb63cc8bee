# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Slots in one reserved stretch of memory, the last that was given back used first; blocks, pipes and details
in free lists.

Spare ones are kept for the next that needs one, up to a bound: a flood leaves little behind.
"""
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from lb._ext.debug cimport DEBUG, bug_on, close_owned, count_down, is_poisoned, poison
from lb._ext.linux cimport *
from lb._ext.state cimport *

cdef enum:
    SPARE_BLOCKS_MAX = 256      # 4 MiB
    SPARE_PIPES_MAX = 64
    SPARE_DETAILS_MAX = 1024    # 360 KiB


cdef session_t* take_slot(engine_t* e) noexcept nogil:
    cdef session_t* s
    cdef uint32_t index = e.slots_free
    cdef uint32_t generation
    if index != NONE:
        s = &e.slots[index]
        e.slots_free = s.next_ready
        bug_on(not is_poisoned(s.side, sizeof(s.side)), "a slot was written to after its session")
    elif e.slots_high < e.slots_max:
        index = e.slots_high
        e.slots_high += 1
        s = &e.slots[index]
    else:
        return NULL
    generation = s.generation
    memset(s, 0, sizeof(session_t))
    s.index, s.generation = index, generation
    s.side[CLIENT].fd = s.side[UPSTREAM].fd = -1
    s.endpoint = s.next_ready = s.wheel_place = s.source = s.pool = s.queue_next = s.queue_prev = NONE
    e.slots_used += 1
    return s


cdef void give_slot(engine_t* e, session_t* s) noexcept nogil:
    cdef uint32_t index = s.index
    cdef uint32_t generation = s.generation
    bug_on(s.state != FREE or s.ready, "a slot is given back that is in use")
    bug_on(s.wheel_place != NONE, "a slot is given back twice, or with its deadline")
    if DEBUG:
        poison(s, sizeof(session_t))
        s.index, s.state, s.ready = index, FREE, 0
    s.generation = (generation + 1) & 0x7FFFFFFF  # the upper half marks what is no session
    s.next_ready = e.slots_free
    e.slots_free = index
    count_down(&e.slots_used)


cdef block_t* take_block(engine_t* e) noexcept nogil:
    cdef block_t* block = e.blocks_free
    if block != NULL:
        e.blocks_free = block.next
        bug_on(not is_poisoned(block.data, BLOCK_BYTES), "a block was written to after it was given back")
    else:
        block = <block_t*>malloc(sizeof(block_t))
        if block == NULL:
            return NULL
        e.blocks_made += 1
    e.blocks_used += 1
    return block


cdef void give_block(engine_t* e, block_t* block) noexcept nogil:
    cdef block_t* spare = e.blocks_free
    if DEBUG:
        while spare != NULL:
            bug_on(spare == block, "a block is given back twice")
            spare = spare.next
    count_down(&e.blocks_used)
    poison(block.data, BLOCK_BYTES)
    if e.blocks_made - e.blocks_used > SPARE_BLOCKS_MAX:
        free(block)
        e.blocks_made -= 1
        return
    block.next, e.blocks_free = e.blocks_free, block


cdef pipe_t* take_pipe(engine_t* e) noexcept nogil:
    cdef pipe_t* pipe = e.pipes_free
    cdef int ends[2]
    if pipe != NULL:
        e.pipes_free = pipe.next
        e.pipes_used += 1
        return pipe
    if e.pipes_made >= e.pipes_max:
        return NULL
    pipe = <pipe_t*>malloc(sizeof(pipe_t))
    if pipe == NULL:
        return NULL
    if pipe2(ends, O_NONBLOCK | O_CLOEXEC) == -1:
        free(pipe)
        return NULL
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES)  # a refusal leaves 64 KiB, which does too
    pipe.out, pipe.into, pipe.size = ends[0], ends[1], 0
    e.pipes_made += 1
    e.pipes_used += 1
    return pipe


cdef void give_pipe(engine_t* e, pipe_t* pipe) noexcept nogil:
    cdef pipe_t* spare = e.pipes_free
    if DEBUG:
        while spare != NULL:
            bug_on(spare == pipe, "a pipe is given back twice")
            spare = spare.next
    count_down(&e.pipes_used)
    if pipe.size or e.pipes_made - e.pipes_used > SPARE_PIPES_MAX:
        close_pipe(e, pipe)
        return
    pipe.next, e.pipes_free = e.pipes_free, pipe


cdef void close_pipe(engine_t* e, pipe_t* pipe) noexcept nogil:
    close_owned(pipe.out)
    close_owned(pipe.into)
    free(pipe)
    e.pipes_made -= 1


cdef details_t* take_details(engine_t* e) noexcept nogil:
    cdef details_t* details = e.details_free
    if details != NULL:
        e.details_free = details.next
        bug_on(not is_poisoned(details.name, NAME_BYTES_MAX), "details were written to after their session")
    else:
        details = <details_t*>malloc(sizeof(details_t))
        if details == NULL:
            return NULL
        e.details_made += 1
    e.details_used += 1
    memset(details, 0, sizeof(details_t))
    return details


cdef void give_details(engine_t* e, details_t* details) noexcept nogil:
    cdef details_t* spare = e.details_free
    if DEBUG:
        while spare != NULL:
            bug_on(spare == details, "details are given back twice")
            spare = spare.next
    count_down(&e.details_used)
    poison(details, sizeof(details_t))
    if e.details_made - e.details_used > SPARE_DETAILS_MAX:
        free(details)
        e.details_made -= 1
        return
    details.next, e.details_free = e.details_free, details


cdef void free_spares(engine_t* e) noexcept nogil:
    cdef details_t* details
    cdef block_t* block
    cdef pipe_t* pipe
    while e.blocks_free != NULL:
        block = e.blocks_free
        e.blocks_free = block.next
        free(block)
        e.blocks_made -= 1
    while e.details_free != NULL:
        details = e.details_free
        e.details_free = details.next
        free(details)
        e.details_made -= 1
    while e.pipes_free != NULL:
        pipe = e.pipes_free
        e.pipes_free = pipe.next
        close_pipe(e, pipe)
