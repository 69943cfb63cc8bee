# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Turns: a batch of events, who waits on the ready list, and what is due.

serve() waits in the engine's own epoll set and turns, without the GIL, until there is something for Python:
the descriptor of the worker's loop stands in that set too. The other way round (the loop watches the engine's
descriptor, and step() drains it) costs a second wait and Python's way in and out for every wake-up: 7 % of
the CPU of a busy session; it is for whoever has a loop of his own. One timerfd in the set drives the wheel;
it is edge-triggered, so nobody has to read it.

Looking again: to sleep and be woken costs some 3 us of CPU, and on a virtual machine 10 us more until the
first instruction. So where the next event mostly comes sooner, the engine looks a few times more before it
sleeps: at 65 000 exchanges per second the median takes 29 us instead of 36, for 4 % more CPU; below 40 000
it changes nothing. Whether it pays is seen from what it brought.
"""
from libc.string cimport memset

from lb._ext.accept cimport resume_paused, welcome
from lb._ext.audit cimport audit, check_session
from lb._ext.debug cimport bug_on
from lb._ext.linux cimport *
from lb._ext.session cimport go_on, on_deadline, on_event, serve_queues
from lb._ext.slab cimport give_slot
from lb._ext.state cimport *
from lb._ext.wheel cimport next_turn_ms, some_due, take_due, turn_wheel

cdef enum:
    LOOKS_AGAIN = 16            # 3 us, what sleeping and being woken takes of the CPU
    LOOK_CREDIT_MAX = 32
    LOOK_PAID = 2               # so it goes on while a third of the looks bring something
    LOOK_TRIED_EVERY = 16       # waits, when it does not pay
    STEP_NS_MAX = 1000000       # of step(): control messages wait no longer
    DUE_NS_MAX = 100000         # of a turn, for deadlines
    FEW_EVENTS = 4              # after so few, nothing more is likely: back to the loop at once
    FULL_BATCHES_MAX = 1024     # 65536 events: then deadlines are met in a flood too

cdef uint64_t NEVER = <uint64_t>-1


cdef int serve(engine_t* e, int for_ms) noexcept nogil:
    cdef uint64_t until_ms
    cdef int count, found = left_over(e)
    read_clock(e)
    until_ms = e.now_ms + max(for_ms, 0)
    e.called = 0
    while True:
        count = turn(e, 0 if found & TURN_MORE or e.now_ms >= until_ms else <int>(until_ms - e.now_ms))
        found = left_over(e)
        if (count == -1 or e.called or e.now_ms >= until_ms
                or (found & TURN_FAILURES and not e.failures_told)):
            e.failures_told = (found & TURN_FAILURES) != 0
            return found


cdef int step(engine_t* e) noexcept nogil:
    cdef uint64_t until_ns
    cdef int count
    read_clock(e)
    until_ns = e.now_ns + STEP_NS_MAX
    while True:
        count = turn(e, 0)
        if count < FEW_EVENTS:
            break
        read_clock(e)
        if e.now_ns >= until_ns:
            break
    return left_over(e)


cdef int turn(engine_t* e, int wait_ms) noexcept nogil:
    """One batch of events, and what is due. Returns how many events there were; -1: a signal came."""
    cdef int i
    cdef int count = wait(e, wait_ms) if wait_ms else epoll_wait(e.epfd, e.events, EVENTS_MAX, 0)
    read_clock(e)
    e.cell.steps_total += 1
    e.moved_until = e.moved_bytes + STEP_BYTES
    for i in range(count):
        dispatch(e, e.events[i].data.u64, e.events[i].events)
    run_ready(e)
    if count < EVENTS_MAX or e.full_batches == FULL_BATCHES_MAX:
        run_due(e)
        if count < EVENTS_MAX or not some_due(e):
            e.full_batches = 0
    else:  # a deadline is judged after the events that came before it
        e.full_batches += 1
    if e.queued_count and (e.room_made or e.now_ms >= e.queues_due_ms):
        serve_queues(e)
    if e.paused_count and (e.room_made or e.now_ms >= e.resume_ms):
        resume_paused(e)
    e.room_made = False
    arm_timer(e)
    audit(e)
    return count


cdef int wait(engine_t* e, int wait_ms) noexcept nogil:
    cdef int _, count
    if not looks_again(e):
        return epoll_wait(e.epfd, e.events, EVENTS_MAX, wait_ms)
    count = epoll_wait(e.epfd, e.events, EVENTS_MAX, 0)
    if count:  # it would not have slept
        return count
    for _ in range(LOOKS_AGAIN):
        count = epoll_wait(e.epfd, e.events, EVENTS_MAX, 0)
        if count:
            e.look_credit = min(e.look_credit + <uint32_t>LOOK_PAID, <uint32_t>LOOK_CREDIT_MAX)
            return count
    if e.look_credit:
        e.look_credit -= 1
    return epoll_wait(e.epfd, e.events, EVENTS_MAX, wait_ms)


cdef bint looks_again(engine_t* e) noexcept nogil:
    e.waits += 1
    return e.look_credit or e.waits % LOOK_TRIED_EVERY == 0


cdef int left_over(const engine_t* e) noexcept nogil:
    return ((TURN_MORE if e.ready_first != NONE or some_due(e) or e.room_made else 0)
            | (TURN_FAILURES if e.failed_count else 0))


cdef void dispatch(engine_t* e, uint64_t data, uint32_t events) noexcept nogil:
    cdef uint32_t mark = data >> 32
    cdef uint32_t low = <uint32_t>data
    cdef session_t* s
    if mark == MARK_LISTENING:
        if e.listenings[low].fd != -1 and not e.listenings[low].paused:
            welcome(e, &e.listenings[low])
            if events & EPOLLHUP:  # it was shut down, and would be reported for ever; unlisten() follows
                epoll_ctl(e.epfd, EPOLL_CTL_DEL, e.listenings[low].fd, NULL)
    elif mark == MARK_TIMER:
        e.wheel.armed_ms = NEVER
    elif mark == MARK_CALL:
        e.called = 1
    else:
        bug_on(low >> 1 >= e.slots_high, "an event of a slot that nobody had")
        s = &e.slots[low >> 1]
        if s.generation == mark:  # else it is meant for a former user of the slot
            on_event(e, s, low & 1, events)
            check_session(s)


cdef void run_ready(engine_t* e) noexcept nogil:
    """Each session on the list gets one turn; one that is stopped again waits for the next round."""
    cdef uint32_t last = e.ready_last
    cdef uint32_t index = NONE
    cdef session_t* s
    e.moved_until = e.moved_bytes + STEP_BYTES
    while index != last and e.moved_bytes < e.moved_until:
        index = e.ready_first
        s = &e.slots[index]
        bug_on(not s.ready, "a session is on the ready list, and does not know it")
        e.ready_first = s.next_ready
        if e.ready_first == NONE:
            e.ready_last = NONE
        s.ready, s.next_ready = 0, NONE
        if s.state == FREE:
            give_slot(e, s)
        else:
            go_on(e, s)
            check_session(s)


cdef void run_due(engine_t* e) noexcept nogil:
    """Some of it: whoever has an event waits no longer than DUE_NS_MAX for it."""
    cdef session_t* s
    cdef uint64_t until_ns
    turn_wheel(e, e.now_ms)
    s = take_due(e)
    if s == NULL:
        return
    until_ns = clock_ns(CLOCK_MONOTONIC) + DUE_NS_MAX
    while True:
        on_deadline(e, s)
        check_session(s)
        if clock_ns(CLOCK_MONOTONIC) >= until_ns:
            return
        s = take_due(e)
        if s == NULL:
            return


cdef void arm_timer(engine_t* e) noexcept nogil:
    """Sets the timer if something is due before it would fire; one that fires early does no harm."""
    cdef itimerspec when
    cdef uint64_t at_ms = next_turn_ms(e)
    if e.paused_count:
        at_ms = min(at_ms, e.resume_ms)
    if e.queued_count:
        at_ms = min(at_ms, e.queues_due_ms)
    if at_ms >= e.wheel.armed_ms:
        return
    e.wheel.armed_ms = at_ms
    memset(&when, 0, sizeof(when))
    when.it_value.tv_sec = at_ms // 1000
    when.it_value.tv_nsec = (at_ms % 1000) * 1000000
    if at_ms == 0:
        when.it_value.tv_nsec = 1
    if timerfd_settime(e.timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == -1:
        e.wheel.armed_ms = NEVER  # so that the next turn tries again
