"""The data path: what moves bytes. It imports nothing from lb; no Python runs per byte, event or session.

    linux    the system calls, as C declares them
    table    the snapshot: layout, compiler (supervisor), checked mapping (worker)
    board    the scoreboard: layout, one writer per cell, readers sum
    ring     access-log lines, from a worker to the one writer
    state    what one worker owns: slots, sides, pipes, blocks, the wheel
    wheel    deadlines
    slab     slots, blocks and pipes: taken and given back
    siphash  a keyed hash
    maglev   the table of the policy of that name, made where snapshots are compiled
    room     whether an endpoint can have a session
    cost     what a session at an endpoint takes
    hash     which endpoint a client belongs to
    pick     which endpoint: the policies
    record   a session's one line
    pace     its bandwidth
    pump     one direction of a session
    proxy    a PROXY header, read
    hello    a TLS ClientHello, read
    introduction  the PROXY header that an endpoint gets
    gate     who is let in: networks, rates, sessions per source
    queue    sessions that wait for room, first come first served over all workers
    retries  how many sessions may be on a further attempt
    want     sessions that find no descriptor, port or memory of ours
    ending   the ways out of a session
    relay    bytes, ends of stream and resets, between a client and its endpoint
    connect  from the pool to an endpoint that has answered
    opening  what a client says first: a PROXY header, a ClientHello
    accept   new clients
    deadlines  age and quiet of a session, and peers that answer no more
    session  what an event or a deadline means in each state
    turn     a batch of events, the ready list, what is due
    engine   the Python surface: Engine.serve() turns without the GIL
    trial    picks without sockets, for tests and benches
    transitions, debug, audit    which state may follow which; the debug build, and what it checks

Laws
    1  Try first, wait on EAGAIN; every socket is registered once, edge-triggered; an event carries slot and
       generation, so that one meant for a former user of the slot is dropped.
    2  An idle session owns a slot and two descriptors, and nothing else.
    3  Reading stops while the other side is blocked; refused bytes are kept, bounded.
    4  An end of stream is passed on after every byte before it, and a reset after they were acknowledged.
    5  Every wait has a deadline in the wheel.
    6  Every loop is bounded by a named limit; what a limit stopped waits on the ready list.
    7  Errors are return codes. Whatever is taken is counted and given back.
"""
