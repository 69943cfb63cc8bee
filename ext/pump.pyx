# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The pump. Theory of operation.

Facts
  1  A socket is registered once, edge-triggered: after EAGAIN an edge will come, and only then. READABLE is
     our memory of the last edge; it is cleared by EAGAIN and by nothing less sure.
  2  A recv() that returns less than it was asked for has emptied the queue, unless urgent data is about:
     then it stops at the mark. So a short read counts as EAGAIN when the side is not URGENT. On a unix socket
     it also stops where descriptors were passed along, which nothing foretells: such a side is UNSURE.
  3  When RDHUP (and no error) was reported before a short read, the end of stream is all that is left.
  4  send() that takes less than it was given says: blocked. An edge (OUT) comes when there is room.
  5  EAGAIN from splice() into a pipe means "no data" only if the pipe was empty at the call.
  6  A pipe may hold more bytes than F_GETPIPE_SZ says: its slots hold whole fragments.
  7  Who asks for less than a block, for want of tokens, and gets it all, does not know what is left.

Consequences
  What the taker refused is kept with the taker, in one block or one pipe; while something is kept nothing is
  read from the source, so at most BLOCK_BYTES or one pipe is held per direction, and the source's own window
  closes. A stream (several full reads in a row) is spliced: into a pipe and at once out of it, so that a pipe
  is held only while the taker is blocked.

Rejected
  A buffer for each session (memory of idle sessions); splice for everything (two calls more for each small
  message); SPLICE_F_MORE (it delays the tail of a stream as TCP_CORK does).
"""
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from lb._ext.linux cimport *
from lb._ext.options cimport bound_unsent
from lb._ext.pace cimport *
from lb._ext.proxy cimport (
    SIGNATURE_BYTES_MAX, SIGNATURE_NOT, SIGNATURE_WHOLE, compare_signature, likeness_t,
)
from lb._ext.slab cimport give_block, give_pipe, take_block, take_pipe
from lb._ext.state cimport *

cdef enum:
    STREAM_AFTER_READS = 3      # full ones, as HAProxy's CF_STREAMER_FAST
    COPY_AFTER_SPLICES = 2      # small ones
    SPLICE_SMALL_BYTES = 4096   # below a page the kernel copies anyway


cdef pumped_t pump(engine_t* e, session_t* s, int source) noexcept nogil:
    if s.pacing & (PACES << source):
        return pump_paced(e, s, source)
    return pump_some(e, s, source, TURN_BYTES, PUMP_STOPPED)


cdef pumped_t pump_paced(engine_t* e, session_t* s, int source) noexcept nogil:
    cdef uint64_t* total = &s.bytes_in if source == CLIENT else &s.bytes_out
    cdef uint64_t before = total[0]
    cdef uint64_t rate = rate_of(e, s, source)
    cdef uint64_t allowed = paced_bytes(e, s, source, rate) if rate else TURN_BYTES
    cdef pumped_t outcome
    if allowed >= TURN_BYTES:
        outcome = pump_some(e, s, source, TURN_BYTES, PUMP_STOPPED)
    else:
        outcome = pump_some(e, s, source, allowed, PUMP_PACED)
    if rate and total[0] != before:
        take_tokens(e, s, source, rate, total[0] - before)
    if outcome == PUMP_PACED:
        s.pacing |= PACE_WAITS << source
    else:
        s.pacing &= ~(PACE_WAITS << source)
    return outcome


cdef inline pumped_t pump_some(engine_t* e, session_t* s, int source, uint64_t bytes_max,
                               pumped_t at_limit) noexcept nogil:
    """At most `bytes_max`, exactly when that is PUMP_PACED, and then `at_limit`."""
    cdef side_t* giver = &s.side[source]
    cdef side_t* taker = &s.side[1 - source]
    cdef uint64_t* total = &s.bytes_in if source == CLIENT else &s.bytes_out
    cdef uint64_t limit = total[0] + bytes_max
    cdef uint64_t left = PIPE_BYTES
    cdef uint64_t moved_before = e.moved_bytes
    cdef pumped_t outcome = flush(e, taker) if has_kept(taker) else PUMP_FINISHED
    while outcome == PUMP_FINISHED:  # the taker has all that was read so far
        if giver.flags & FINISHED:
            break
        if not giver.flags & READABLE:
            outcome = PUMP_WAITS
        elif total[0] >= limit:
            outcome = at_limit
        else:
            if at_limit == PUMP_PACED:
                left = limit - total[0]
            if giver.flags & STREAM:
                outcome = splice_once(e, giver, taker, total, min(left, <uint64_t>PIPE_BYTES))
            else:
                outcome = copy_once(e, giver, taker, total, min(left, <uint64_t>BLOCK_BYTES))
    if e.moved_bytes != moved_before:
        s.active_ms = e.now_ms
    return outcome


cdef pumped_t pump_doubted(engine_t* e, session_t* s) noexcept nogil:
    """Bytes that may still become a PROXY header pass too, for the client may be waiting for an answer to
    them; but only those that were looked at, and never the last one of a signature."""
    cdef side_t* giver = &s.side[CLIENT]
    cdef pumped_t outcome = flush(e, &s.side[UPSTREAM]) if has_kept(&s.side[UPSTREAM]) else PUMP_FINISHED
    cdef likeness_t found
    cdef ssize_t size
    while outcome == PUMP_FINISHED and giver.flags & READABLE:  # each round takes a byte of a signature
        size = recv(giver.fd, e.buffer, SIGNATURE_BYTES_MAX - s.bytes_in, MSG_PEEK)
        if size <= 0:
            return read_nothing(giver, size)
        found = compare_signature(e.buffer, <uint32_t>s.bytes_in, <uint32_t>size)
        if found == SIGNATURE_WHOLE:
            return PUMP_FORBIDDEN
        if found == SIGNATURE_NOT:
            s.opens = 0
            return pump(e, s, CLIENT)
        size = recv(giver.fd, e.buffer, size, 0)
        if size <= 0:
            return read_nothing(giver, size)
        s.bytes_in += size
        s.active_ms = e.now_ms
        outcome = hand_over(e, &s.side[UPSTREAM], size, 0)
    return PUMP_WAITS if outcome == PUMP_FINISHED else outcome


# ---- Copying ----------------------------------------------------------------------------------------

cdef inline pumped_t copy_once(engine_t* e, side_t* giver, side_t* taker, uint64_t* total,
                               size_t asked) noexcept nogil:
    cdef ssize_t size = recv(giver.fd, e.buffer, asked, 0)
    if size <= 0:
        return read_nothing(giver, size)
    total[0] += size
    if size < <ssize_t>asked:
        giver.full_reads = 0
        if not giver.flags & (URGENT | FAILED | UNSURE):
            giver.flags &= ~READABLE
            if giver.flags & ENDED:
                giver.flags |= FINISHED
    elif size == BLOCK_BYTES and giver.full_reads < STREAM_AFTER_READS:
        giver.full_reads += 1
        if giver.full_reads == STREAM_AFTER_READS:
            bound_unsent(taker)
            if e.pipes_max and not giver.flags & URGENT:
                giver.flags |= STREAM
    # The last bytes wait in the kernel for the end of stream that is passed on next: one packet, not two.
    return hand_over(e, taker, size, MSG_MORE if giver.flags & (FINISHED | BROKEN) == FINISHED else 0)


cdef pumped_t read_nothing(side_t* giver, ssize_t size) noexcept nogil:
    if size == 0:
        if giver.flags & BROKEN:  # the error was told to a send() before
            return PUMP_SOURCE_RESET
        giver.flags = (giver.flags | FINISHED) & ~READABLE
        return PUMP_FINISHED
    if errno == EAGAIN:
        giver.flags &= ~READABLE
        return PUMP_SOURCE_RESET if giver.flags & BROKEN else PUMP_WAITS
    if errno == EINTR:
        return PUMP_STOPPED
    if errno == ENOMEM or errno == ENOBUFS:
        return PUMP_NO_MEMORY
    note_error(giver, errno)
    giver.flags |= BROKEN
    return PUMP_SOURCE_RESET


cdef pumped_t hand_over(engine_t* e, side_t* taker, ssize_t size, int more) noexcept nogil:
    cdef ssize_t taken = send(taker.fd, e.buffer, size, MSG_NOSIGNAL | more)
    cdef pumped_t outcome = PUMP_WAITS
    cdef block_t* block
    if taken == size:
        e.moved_bytes += size
        return PUMP_FINISHED
    if taken == -1:
        outcome = refused(taker)
        if outcome == PUMP_TAKER_RESET or outcome == PUMP_NO_MEMORY:
            return outcome
        taken = 0
    e.moved_bytes += taken
    block = take_block(e)
    if block == NULL:
        return PUMP_NO_MEMORY
    memcpy(block.data, e.buffer + taken, size - taken)
    taker.kept, taker.kept_from, taker.kept_size = block, 0, <uint32_t>(size - taken)
    return outcome


cdef pumped_t refused(side_t* taker) noexcept nogil:
    """What errno says of a side that took nothing."""
    if errno == EAGAIN:
        return PUMP_WAITS
    if errno == EINTR:
        return PUMP_STOPPED
    if errno == ENOMEM or errno == ENOBUFS:
        return PUMP_NO_MEMORY
    note_error(taker, errno)
    return PUMP_TAKER_RESET


# ---- Splicing ---------------------------------------------------------------------------------------

cdef inline pumped_t splice_once(engine_t* e, side_t* giver, side_t* taker, uint64_t* total,
                                 size_t asked) noexcept nogil:
    """Into a pipe and at once out of it. The pipe stays with the taker only if that is blocked."""
    cdef pipe_t* pipe = take_pipe(e)
    cdef ssize_t size
    if pipe == NULL:
        giver.flags &= ~STREAM
        giver.full_reads = 0
        return PUMP_FINISHED
    size = splice(giver.fd, NULL, pipe.into, NULL, asked, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    if size <= 0:
        give_pipe(e, pipe)
        if size == 0 or errno == EINVAL:
            # An end of stream, or urgent data (at whose mark splice() stops), or bytes of a kind that cannot
            # be spliced: recv() tells which.
            giver.flags &= ~STREAM
            giver.full_reads = 0
            return PUMP_FINISHED
        return read_nothing(giver, size)
    total[0] += size
    pipe.size = size
    if size >= SPLICE_SMALL_BYTES:
        giver.small_splices = 0
    else:
        giver.small_splices += 1
        if giver.small_splices == COPY_AFTER_SPLICES:
            giver.small_splices = giver.full_reads = 0
            giver.flags &= ~STREAM
    taker.pipe = pipe
    return flush_pipe(e, taker)


# ---- Kept bytes -------------------------------------------------------------------------------------

cdef pumped_t flush(engine_t* e, side_t* taker) noexcept nogil:
    if taker.pipe != NULL:
        return flush_pipe(e, taker)
    return flush_block(e, taker)


cdef pumped_t flush_block(engine_t* e, side_t* taker) noexcept nogil:
    cdef ssize_t taken = send(taker.fd, taker.kept.data + taker.kept_from, taker.kept_size, MSG_NOSIGNAL)
    if taken == -1:
        return refused(taker)
    e.moved_bytes += taken
    taker.kept_from += <uint32_t>taken
    taker.kept_size -= <uint32_t>taken
    if taker.kept_size:
        return PUMP_WAITS
    drop_kept(e, taker)
    return PUMP_FINISHED


cdef pumped_t flush_pipe(engine_t* e, side_t* taker) noexcept nogil:
    cdef pipe_t* pipe = taker.pipe
    cdef ssize_t taken
    while pipe.size:
        taken = splice(pipe.out, NULL, taker.fd, NULL, pipe.size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if taken == -1:
            return refused(taker)
        if taken == 0:  # the pipe says that it is empty: bytes are lost
            return PUMP_NO_MEMORY
        e.moved_bytes += taken
        pipe.size -= taken
    drop_kept(e, taker)
    return PUMP_FINISHED


cdef void drop_kept(engine_t* e, side_t* taker) noexcept nogil:
    if taker.kept != NULL:
        give_block(e, taker.kept)
        taker.kept = NULL
        taker.kept_size = 0
    if taker.pipe != NULL:
        give_pipe(e, taker.pipe)
        taker.pipe = NULL
