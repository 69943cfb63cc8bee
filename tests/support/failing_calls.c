/* Loaded before libc: the Nth call of one kind that the data path makes fails, as the test says.

   Only calls whose return address lies in lb's extension are counted and touched; Python's own go through.
   A test's one thread turns the engine and gives the orders, so nothing here is locked.

   Ways to fail (`how`): an errno; HOW_EDGE: EAGAIN, and the edge that the kernel would send after it follows at
   once; HOW_SHORT: half of what was asked for, likewise. An errno that the kernel gives only after it did the
   work (close) is given after the work.

   The engine's clock stands still at the kernel's plus an offset, which the test moves: hours take no time. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define OURS is_ours(__builtin_return_address(0))

enum {
    CALL_NONE, CALL_ACCEPT4, CALL_BIND, CALL_CALLOC, CALL_CLOSE, CALL_CONNECT, CALL_EPOLL_CREATE1, CALL_EPOLL_CTL,
    CALL_EPOLL_WAIT, CALL_FCNTL, CALL_FSTAT, CALL_GETPEERNAME, CALL_GETSOCKNAME, CALL_GETSOCKOPT, CALL_IOCTL,
    CALL_MALLOC, CALL_MMAP, CALL_PIPE2, CALL_POLL, CALL_RECV, CALL_SEND, CALL_SETSOCKOPT, CALL_SHUTDOWN, CALL_SOCKET,
    CALL_SPLICE, CALL_TIMERFD_CREATE, CALL_TIMERFD_SETTIME, CALLS /* as in failing_calls.py */
};
enum { HOW_EDGE = -1, HOW_SHORT = -2 };
enum { RANGES_MAX = 64, FDS_MAX = 65536 };

typedef struct {
    int applied;        /* 1: the call failed; 0: it was not reached, or could not fail in this way */
    int fd;             /* -1: the call has none */
    int local_port;     /* of that descriptor; 0: none, or not a TCP socket */
    int peer_port;
} seen_t;

static struct { uintptr_t first, last; } ranges[RANGES_MAX];
static int ranges_count;
static int call, nth, how, armed;
static long counts[CALLS];
static seen_t seen;
static struct { int epfd; struct epoll_event event; } watched[FDS_MAX];
static int64_t offset_ns;

/* ---- Whose call it is ----------------------------------------------------------------------------- */

static int add_range(struct dl_phdr_info* info, size_t size, void* unused) {
    (void)size, (void)unused;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "/_ext/"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && ranges_count < RANGES_MAX; i++) {
        const ElfW(Phdr)* part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        ranges[ranges_count].first = info->dlpi_addr + part->p_vaddr;
        ranges[ranges_count++].last = info->dlpi_addr + part->p_vaddr + part->p_memsz;
    }
    return 0;
}

static int is_ours(const void* caller) {
    for (int i = 0; i < ranges_count; i++)
        if ((uintptr_t)caller >= ranges[i].first && (uintptr_t)caller < ranges[i].last)
            return 1;
    return 0;
}

static int port_of(int fd, long number) {
    struct sockaddr_in6 address = {0};
    socklen_t size = sizeof(address);
    if (syscall(number, fd, &address, &size) == -1)
        return 0;
    return address.sin6_family == AF_INET || address.sin6_family == AF_INET6 ? ntohs(address.sin6_port) : 0;
}

static int is_socket(int fd) {
    struct sockaddr_in6 address;
    socklen_t size = sizeof(address);
    return syscall(SYS_getsockname, fd, &address, &size) == 0;
}

/* Whether this call is the one that fails. */
static int fails(int which, int fd) {
    counts[which]++;
    if (!armed || which != call || counts[which] != nth)
        return 0;
    int before = errno;
    seen = (seen_t){1, fd, fd < 0 ? 0 : port_of(fd, SYS_getsockname), fd < 0 ? 0 : port_of(fd, SYS_getpeername)};
    errno = before;
    return 1;
}

/* The edge comes that follows an EAGAIN: what the descriptor waits for is reported once more. */
static void edge(int fd) {
    if (fd >= 0 && fd < FDS_MAX && watched[fd].epfd)
        syscall(SYS_epoll_ctl, watched[fd].epfd, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

static int failed(int fd) {
    if (how == HOW_EDGE)
        edge(fd);
    errno = how == HOW_EDGE ? EAGAIN : how;
    return -1;
}

/* ---- Orders --------------------------------------------------------------------------------------- */

/* `nth` 0: nothing fails, calls are counted. Forgets the counts of before. */
EXPORTED void lb_fault_arm(int which, int number, int way) {
    if (!ranges_count)
        dl_iterate_phdr(add_range, NULL);
    memset(counts, 0, sizeof(counts));
    seen = (seen_t){0, -1, 0, 0};
    call = which, nth = number, how = way, armed = number > 0;
}

EXPORTED void lb_fault_disarm(void) { armed = 0; }
EXPORTED int lb_fault_ranges(void) { return ranges_count; }
EXPORTED long lb_fault_count(int which) { return counts[which]; }
EXPORTED void lb_fault_seen(seen_t* out) { *out = seen; }
EXPORTED void lb_clock_advance(int64_t ns) { offset_ns += ns; }

/* ---- The calls ------------------------------------------------------------------------------------ */

#define FAIL_OR(which, fd, real) (OURS && fails(which, fd) ? failed(fd) : (real))

EXPORTED int accept4(int fd, struct sockaddr* address, socklen_t* size, int flags) {
    return FAIL_OR(CALL_ACCEPT4, fd, syscall(SYS_accept4, fd, address, size, flags));
}

EXPORTED int bind(int fd, const struct sockaddr* address, socklen_t size) {
    return FAIL_OR(CALL_BIND, fd, syscall(SYS_bind, fd, address, size));
}

EXPORTED int close(int fd) {
    int ours = OURS && fails(CALL_CLOSE, fd);
    if (fd >= 0 && fd < FDS_MAX)
        watched[fd].epfd = 0;
    int outcome = syscall(SYS_close, fd);
    return ours ? failed(-1) : outcome;
}

EXPORTED int connect(int fd, const struct sockaddr* address, socklen_t size) {
    return FAIL_OR(CALL_CONNECT, fd, syscall(SYS_connect, fd, address, size));
}

EXPORTED int epoll_ctl(int epfd, int operation, int fd, struct epoll_event* event) {
    /* DEL needs no memory: it fails only if the engine asks for nonsense. */
    if (OURS && operation != EPOLL_CTL_DEL && fails(CALL_EPOLL_CTL, fd))
        return failed(-1);
    int outcome = syscall(SYS_epoll_ctl, epfd, operation, fd, event);
    if (outcome == 0 && fd >= 0 && fd < FDS_MAX) {
        watched[fd].epfd = operation == EPOLL_CTL_DEL ? 0 : epfd;
        if (event)
            watched[fd].event = *event;
    }
    return outcome;
}

EXPORTED int epoll_wait(int epfd, struct epoll_event* events, int max, int timeout_ms) {
    return FAIL_OR(CALL_EPOLL_WAIT, -1, syscall(SYS_epoll_pwait, epfd, events, max, timeout_ms, NULL, 0));
}

static int real_fcntl(int fd, int command, void* value) { return syscall(SYS_fcntl, fd, command, value); }

EXPORTED int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void* value = va_arg(rest, void*);
    va_end(rest);
    return FAIL_OR(CALL_FCNTL, fd, real_fcntl(fd, command, value));
}

EXPORTED int fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void* value = va_arg(rest, void*);
    va_end(rest);
    return FAIL_OR(CALL_FCNTL, fd, real_fcntl(fd, command, value));
}

EXPORTED int getpeername(int fd, struct sockaddr* address, socklen_t* size) {
    return FAIL_OR(CALL_GETPEERNAME, fd, syscall(SYS_getpeername, fd, address, size));
}

EXPORTED int getsockname(int fd, struct sockaddr* address, socklen_t* size) {
    return FAIL_OR(CALL_GETSOCKNAME, fd, syscall(SYS_getsockname, fd, address, size));
}

EXPORTED int getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
    return FAIL_OR(CALL_GETSOCKOPT, fd, syscall(SYS_getsockopt, fd, level, name, value, size));
}

EXPORTED int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void* value = va_arg(rest, void*);
    va_end(rest);
    return FAIL_OR(CALL_IOCTL, fd, syscall(SYS_ioctl, fd, request, value));
}

/* The next one to this: a sanitizer's, where there is one. dlsym() may want memory itself meanwhile. */
static void* next_one(void** found, const char* name) {
    static int looking;
    if (!*found && !looking) {
        looking = 1;
        *found = dlsym(RTLD_NEXT, name);
        looking = 0;
    }
    return *found;
}

EXPORTED void* malloc(size_t size) {
    static void* found;
    extern void* __libc_malloc(size_t);
    if (OURS && fails(CALL_MALLOC, -1)) {
        errno = ENOMEM;
        return NULL;
    }
    void* (*real)(size_t) = (void* (*)(size_t))next_one(&found, "malloc");
    return real ? real(size) : __libc_malloc(size);
}

EXPORTED void* calloc(size_t count, size_t size) {
    static void* found;
    extern void* __libc_calloc(size_t, size_t);
    if (OURS && fails(CALL_CALLOC, -1)) {
        errno = ENOMEM;
        return NULL;
    }
    void* (*real)(size_t, size_t) = (void* (*)(size_t, size_t))next_one(&found, "calloc");
    return real ? real(count, size) : __libc_calloc(count, size);
}

EXPORTED void* mmap64(void* place, size_t size, int protection, int flags, int fd, off64_t offset) {
    if (OURS && fails(CALL_MMAP, -1)) {
        errno = how;
        return (void*)-1;
    }
    return (void*)syscall(SYS_mmap, place, size, protection, flags, fd, offset);
}

EXPORTED int epoll_create1(int flags) {
    return FAIL_OR(CALL_EPOLL_CREATE1, -1, syscall(SYS_epoll_create1, flags));
}

EXPORTED int timerfd_create(clockid_t clock, int flags) {
    return FAIL_OR(CALL_TIMERFD_CREATE, -1, syscall(SYS_timerfd_create, clock, flags));
}

EXPORTED int fstat64(int fd, struct stat64* found) {
    return FAIL_OR(CALL_FSTAT, fd, syscall(SYS_fstat, fd, found));
}

EXPORTED int pipe2(int fds[2], int flags) { return FAIL_OR(CALL_PIPE2, -1, syscall(SYS_pipe2, fds, flags)); }

EXPORTED int poll(struct pollfd* waited, nfds_t count, int timeout_ms) {
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    return FAIL_OR(CALL_POLL, -1, syscall(SYS_ppoll, waited, count, timeout_ms < 0 ? NULL : &timeout, NULL, 0));
}

static int peeked_fd = -1;

static ssize_t received(int fd, void* data, size_t size, int flags, int ours) {
    if (ours && fails(CALL_RECV, fd)) {
        struct pollfd now = {fd, POLLRDHUP, 0};
        if (how != HOW_SHORT)
            return failed(fd);
        /* Behind an end of stream, and of what was peeked at, the kernel gives all there is, and so must this. */
        if (size < 2 || fd == peeked_fd || poll(&now, 1, 0) != 0) {
            seen.applied = 0;
        } else {
            ssize_t outcome = syscall(SYS_recvfrom, fd, data, size / 2, flags, NULL, NULL);
            edge(fd);
            return outcome;
        }
    }
    return syscall(SYS_recvfrom, fd, data, size, flags, NULL, NULL);
}

EXPORTED ssize_t recv(int fd, void* data, size_t size, int flags) {
    ssize_t outcome = received(fd, data, size, flags, OURS);
    peeked_fd = flags & MSG_PEEK ? fd : -1;
    return outcome;
}

EXPORTED ssize_t send(int fd, const void* data, size_t size, int flags) {
    if (OURS && fails(CALL_SEND, fd)) {
        if (how != HOW_SHORT)
            return failed(fd);
        if (size < 2) {
            seen.applied = 0;
        } else {
            ssize_t outcome = syscall(SYS_sendto, fd, data, size / 2, flags, NULL, 0);
            edge(fd);
            return outcome;
        }
    }
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

EXPORTED int setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
    /* SO_LINGER only stores two numbers: no kernel refuses it. */
    if (OURS && name != SO_LINGER && fails(CALL_SETSOCKOPT, fd))
        return failed(fd);
    return syscall(SYS_setsockopt, fd, level, name, value, size);
}

EXPORTED int shutdown(int fd, int how_) { return FAIL_OR(CALL_SHUTDOWN, fd, syscall(SYS_shutdown, fd, how_)); }

EXPORTED int socket(int family, int kind, int protocol) {
    return FAIL_OR(CALL_SOCKET, -1, syscall(SYS_socket, family, kind, protocol));
}

EXPORTED ssize_t splice(int from, off64_t* at_from, int to, off64_t* at_to, size_t size, unsigned int flags) {
    int sock = is_socket(from) ? from : to;
    if (OURS && fails(CALL_SPLICE, sock)) {
        if (how != HOW_SHORT)
            return failed(sock);
        ssize_t outcome = syscall(SYS_splice, from, at_from, to, at_to, size > 1 ? size / 2 : size, flags);
        edge(sock);
        return outcome;
    }
    return syscall(SYS_splice, from, at_from, to, at_to, size, flags);
}

EXPORTED int timerfd_settime(int fd, int flags, const struct itimerspec* new, struct itimerspec* old) {
    struct itimerspec moved = *new;
    if (OURS) {
        if (fails(CALL_TIMERFD_SETTIME, fd))
            return failed(-1);
        int64_t at_ns = moved.it_value.tv_sec * INT64_C(1000000000) + moved.it_value.tv_nsec - offset_ns;
        if (at_ns < 1)
            at_ns = 1;
        moved.it_value = (struct timespec){at_ns / 1000000000, at_ns % 1000000000};
    }
    return syscall(SYS_timerfd_settime, fd, flags, &moved, old);
}

EXPORTED int clock_gettime(clockid_t clock, struct timespec* now) {
    int outcome = syscall(SYS_clock_gettime, clock, now);
    if (outcome == 0 && clock == CLOCK_MONOTONIC && OURS) {
        int64_t at_ns = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + offset_ns;
        *now = (struct timespec){at_ns / 1000000000, at_ns % 1000000000};
    }
    return outcome;
}
