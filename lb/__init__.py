"""lb: a Layer-4 load balancer.

One supervisor decides and carries no traffic; workers, one per CPU, carry it and decide nothing.

Primitives
    listener, pool, endpoint, session; check and probe; snapshot, generation; scoreboard. One word per thing.

Layers, imports going one way: model <- {balance, health, config} <- core <- shell <- cli
    model     values, frozen
    balance   pool -> schedule (pure)
    health    streaks and the probe plan (pure)
    config    YAML text -> schema -> model (pure)
    core      the brain: handle(event, now) -> [command]
    shell     all I/O; `shell.datapath` alone imports the compiled extension
    cli       one small file per command
    worker    the worker process: a uvloop loop that turns the engine
    _ext      the data path, Cython; its sources live in ext/

Invariants
    No Python frame runs per byte, per event or per session.
    A worker never sees half an update: it swaps one pointer to an immutable snapshot.
    Health and admin are separate; each change of either passes one function and leaves one record.
    A configuration that is refused changes nothing.

Absences, on purpose
    No thread touches the data path. No pool of upstream connections: a session is one client connection and
    one endpoint connection. No state on disk is needed to start.
"""

__version__ = "0.1.0"
