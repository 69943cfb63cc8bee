# cython: language_level=3
"""System calls of the load programs, and the few shapes they are used in. IPv4 loopback only.

Every function: `noexcept nogil`; -1 with errno set on failure, as the call below it. Descriptors belong to
the caller; closing one takes it out of its epoll set, because no other process holds a copy.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "errno.h" nogil:
    int errno
    enum:
        EAGAIN
        EINPROGRESS
        EINTR

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLRDHUP
        EPOLLHUP
        EPOLLERR
        EPOLLET
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void* ptr
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    int epoll_pwait2(int epfd, epoll_event* events, int maxevents, const timespec* timeout, const void* mask)

cdef extern from "sys/socket.h" nogil:
    enum:
        AF_INET
        SOCK_STREAM
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        MSG_NOSIGNAL
        MSG_TRUNC
        SHUT_WR
    cdef struct sockaddr:
        pass
    int socket(int family, int kind, int protocol)
    int connect(int fd, const sockaddr* address, unsigned int size)
    int accept4(int fd, sockaddr* address, unsigned int* size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    int setsockopt(int fd, int level, int name, const void* value, unsigned int size)
    int shutdown(int fd, int how)

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_TCP
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)

cdef extern from "netinet/tcp.h" nogil:
    enum:
        TCP_NODELAY


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline int watch(int epfd, int op, int fd, uint32_t events, void* owner) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = owner
    return epoll_ctl(epfd, op, fd, &event)


cdef inline int connect_loopback(uint16_t port) noexcept nogil:
    """A non-blocking socket with TCP_NODELAY, connected or connecting to 127.0.0.1:port."""
    cdef sockaddr_in address
    cdef int one = 1
    cdef int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd == -1:
        return -1
    memset(&address, 0, sizeof(address))
    address.sin_family = AF_INET
    address.sin_port = htons(port)
    address.sin_addr.s_addr = htonl(0x7F000001)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if connect(fd, <sockaddr*>&address, sizeof(address)) == -1 and errno != EINPROGRESS:
        close(fd)
        return -1
    return fd
