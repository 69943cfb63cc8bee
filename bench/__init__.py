"""What lb costs and carries, measured beside its peers on one machine.

    build       compiles the load programs (Cython) into bench/build, when their sources changed
    load/       the load programs: endpoint, clients of a closed and an open loop, a bare relay as the floor;
                no Python per event
    process     child processes: pinned, followed, always ended
    proxy       a proxy as it runs, placed on its CPUs
    cpu, memory CPU time and user memory of a process tree, ticks of a CPU
    peers/      one proxy per file: its configuration and how it is started
    compare/    workloads, interleaved rounds, ratios, report
    strace_worker, locustfile, locust_run

Units stand in the names: `_ns`, `_us`, `_s`, `_bytes`. GB is 10^9 bytes, Gb is 10^9 bits.
"""
