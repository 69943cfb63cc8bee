"""A limit of descriptors that the kernel would not grant: what a program is told, and what it has, differ.

The program is told of a thousand million (Docker set 2^30, and programs that made a table of that many, or
closed each of them, took gigabytes or minutes), by whichever door of the C library it asks. What it sets is
cut down to what it has.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.process import needs

TOLD = 1_000_000_000
SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int limit(pid_t pid, int what, const struct rlimit* wanted, struct rlimit* found) {
    struct rlimit real, cut;
    if (what != RLIMIT_NOFILE)
        return syscall(SYS_prlimit64, pid, what, wanted, found);
    if (syscall(SYS_prlimit64, pid, what, NULL, &real) == -1)
        return -1;
    if (found != NULL)
        found->rlim_cur = found->rlim_max = TOLD;
    if (wanted == NULL)
        return 0;
    cut.rlim_max = wanted->rlim_max < real.rlim_max ? wanted->rlim_max : real.rlim_max;
    cut.rlim_cur = wanted->rlim_cur < cut.rlim_max ? wanted->rlim_cur : cut.rlim_max;
    return syscall(SYS_prlimit64, pid, what, &cut, NULL);
}

int getrlimit(__rlimit_resource_t what, struct rlimit* found) { return limit(0, what, NULL, found); }
int setrlimit(__rlimit_resource_t what, const struct rlimit* wanted) { return limit(0, what, wanted, NULL); }
int prlimit(pid_t pid, enum __rlimit_resource what, const struct rlimit* wanted, struct rlimit* found) {
    return limit(pid, what, wanted, found);
}
int getrlimit64(__rlimit_resource_t what, struct rlimit64* found) {
    return limit(0, what, NULL, (struct rlimit*)found);
}
int setrlimit64(__rlimit_resource_t what, const struct rlimit64* wanted) {
    return limit(0, what, (const struct rlimit*)wanted, NULL);
}
int prlimit64(pid_t pid, enum __rlimit_resource what, const struct rlimit64* wanted, struct rlimit64* found) {
    return limit(pid, what, (const struct rlimit*)wanted, (struct rlimit*)found);
}
int getdtablesize(void) { return TOLD; }
long sysconf(int name) {
    long (*real)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_OPEN_MAX ? TOLD : real(name);
}
"""


def environment(folder: Path) -> dict[str, str]:
    """For a program that is to be told so; its children are, too."""
    needs("gcc")
    source, shim = folder / "limit.c", folder / "limit.so"
    source.write_text(SOURCE)
    words = ["gcc", "-shared", "-fPIC", "-O1", f"-DTOLD={TOLD}", "-o", str(shim), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return {"LD_PRELOAD": str(shim)}
