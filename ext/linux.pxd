# cython: language_level=3
"""System calls and constants, as Linux's headers declare them; nothing of ours but a clock.

Every function: -1 with errno set on failure unless its manual page says otherwise.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, itimerspec, timespec

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """

cdef extern from "errno.h" nogil:
    int errno
    enum:
        EACCES
        EADDRINUSE
        EADDRNOTAVAIL
        EAFNOSUPPORT
        EAGAIN
        EBADF
        ECONNABORTED
        ECONNREFUSED
        ECONNRESET
        EHOSTDOWN
        EHOSTUNREACH
        EINPROGRESS
        EINTR
        EINVAL
        ELOOP
        EMFILE
        ENETDOWN
        ENETUNREACH
        ENFILE
        ENODEV
        ENOBUFS
        ENOENT
        ENOMEM
        ENONET
        ENOPROTOOPT
        ENOSPC
        ENOTDIR
        EOPNOTSUPP
        EPERM
        EPIPE
        EPROTO
        EPROTOTYPE
        ETIMEDOUT

cdef extern from "unistd.h" nogil:
    int close(int fd)
    int pipe2(int* fds, int flags)
    ssize_t read(int fd, void* data, size_t size)
    ssize_t write(int fd, const void* data, size_t size)
    int dup3(int fd, int onto, int flags)
    int getpid()

cdef extern from "fcntl.h" nogil:
    enum:
        F_ADD_SEALS
        F_GET_SEALS
        F_GETPIPE_SZ
        F_SEAL_GROW
        F_SEAL_SEAL
        F_SEAL_SHRINK
        F_SEAL_WRITE
        F_SETPIPE_SZ
        O_CLOEXEC
        O_NONBLOCK
        SPLICE_F_MOVE
        SPLICE_F_NONBLOCK
    int fcntl(int fd, int command, ...)
    ssize_t splice(int fd_in, void* off_in, int fd_out, void* off_out, size_t size, unsigned int flags)

cdef extern from "sys/mman.h" nogil:
    enum:
        MADV_REMOVE
        MAP_ANONYMOUS
        MAP_NORESERVE
        MAP_PRIVATE
        MAP_SHARED
        MFD_ALLOW_SEALING
        MFD_CLOEXEC
        PROT_READ
        PROT_WRITE
    void* MAP_FAILED
    void* mmap(void* address, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t size)
    int madvise(void* address, size_t size, int advice)

cdef extern from "sys/stat.h" nogil:
    cdef struct stat_t "stat":
        long st_size
    int fstat(int fd, stat_t* found)

cdef extern from "sys/ioctl.h" nogil:
    enum:
        FIONREAD
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "linux/sockios.h" nogil:
    enum:
        SIOCOUTQ

cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLERR
        EPOLLET
        EPOLLHUP
        EPOLLIN
        EPOLLOUT
        EPOLLPRI
        EPOLLRDHUP
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int events_max, int timeout_ms)

cdef extern from "sys/timerfd.h" nogil:
    enum:
        TFD_CLOEXEC
        TFD_NONBLOCK
        TFD_TIMER_ABSTIME
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)

cdef extern from "sys/socket.h" nogil:
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
        MSG_MORE
        MSG_NOSIGNAL
        MSG_PEEK
        SHUT_WR
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        SOCK_STREAM
        SOL_SOCKET
        SO_ERROR
        SO_KEEPALIVE
        SO_LINGER
        SO_OOBINLINE
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct linger_t "linger":
        int l_onoff
        int l_linger
    int socket(int family, int kind, int protocol)
    int bind(int fd, const sockaddr* address, socklen_t size)
    int connect(int fd, const sockaddr* address, socklen_t size)
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int getsockname(int fd, sockaddr* address, socklen_t* size)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* size)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int shutdown(int fd, int how)

cdef extern from "sys/un.h" nogil:
    cdef struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_IP
        IPPROTO_IPV6
        IPPROTO_TCP
        IPV6_UNICAST_HOPS
        IP_BIND_ADDRESS_NO_PORT
        IP_TTL
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    uint16_t htons(uint16_t value)
    uint16_t ntohs(uint16_t value)

    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)

cdef extern from "endian.h" nogil:
    uint64_t be64toh(uint64_t value)

cdef extern from "arpa/inet.h" nogil:
    enum:
        INET6_ADDRSTRLEN
    const char* inet_ntop(int family, const void* source, char* text, socklen_t size)
    int inet_pton(int family, const char* text, void* address)

cdef extern from "netinet/tcp.h" nogil:
    enum:
        TCP_INFO
        TCP_KEEPCNT
        TCP_KEEPIDLE
        TCP_KEEPINTVL
        TCP_NODELAY
        TCP_NOTSENT_LOWAT
        TCP_QUICKACK
        TCP_REPAIR
    cdef struct tcp_info_t "tcp_info":
        uint8_t tcpi_retransmits
        uint8_t tcpi_probes
        uint8_t tcpi_backoff
        uint32_t tcpi_last_ack_recv

cdef extern from *:
    """
    #ifndef TCP_RTO_MAX_MS  /* Linux 6.15 */
    #define TCP_RTO_MAX_MS 44
    #endif
    """
    enum:
        TCP_RTO_MAX_MS

cdef extern from "poll.h" nogil:
    enum:
        POLLIN
        POLLOUT
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout_ms)

cdef extern from *:
    """
    #define lb_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define lb_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define lb_count(p) __atomic_fetch_add((p), 1, __ATOMIC_RELAXED)
    #define lb_subtract(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
    #define lb_swap_if(p, e, v) \
        __atomic_compare_exchange_n((p), (e), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
    #define lb_lowest_bit(x) __builtin_ctzll(x)
    #define lb_highest_bit(x) (63 - __builtin_clzll(x))
    #define lb_unlikely(x) __builtin_expect(!!(x), 0)
    #define lb_set_errno(e) (errno = (e))
    """
    uint64_t load_acquire "lb_load"(uint64_t* place) nogil
    void store_release "lb_store"(uint64_t* place, uint64_t value) nogil
    uint64_t fetch_and_count "lb_count"(uint64_t* place) nogil
    uint32_t load_acquire_32 "lb_load"(uint32_t* place) nogil
    void store_release_32 "lb_store"(uint32_t* place, uint32_t value) nogil
    uint32_t fetch_and_count_32 "lb_count"(uint32_t* place) nogil
    uint64_t subtract "lb_subtract"(uint64_t* place, uint64_t value) nogil
    bint swap_if "lb_swap_if"(uint64_t* place, uint64_t* expected, uint64_t value) nogil
    int lowest_bit "lb_lowest_bit"(uint64_t bits) nogil
    int highest_bit "lb_highest_bit"(uint64_t bits) nogil
    bint unlikely "lb_unlikely"(bint condition) nogil
    void set_errno "lb_set_errno"(int error) nogil

cdef union address_t:
    # A client's or our own; `any.sa_family` tells which. Of a unix socket only the family is kept.
    sockaddr any
    sockaddr_in v4
    sockaddr_in6 v6

cdef union place_t:
    # Where to connect to.
    address_t ip
    sockaddr_un file


cdef inline uint64_t clock_ns(int clock) noexcept nogil:
    cdef timespec t
    clock_gettime(clock, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline socklen_t address_size(const address_t* address) noexcept nogil:
    return sizeof(sockaddr_in6) if address.any.sa_family == AF_INET6 else sizeof(sockaddr_in)


cdef inline socklen_t place_size(const place_t* place) noexcept nogil:
    return sizeof(sockaddr_un) if place.ip.any.sa_family == AF_UNIX else address_size(&place.ip)
