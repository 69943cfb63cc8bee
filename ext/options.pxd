# cython: language_level=3
"""Options of a session's sockets. What fails here is not worth a session: none returns anything.

The client's socket inherits its options from the listening one; these are for what cannot be inherited.
"""
from lb._ext.linux cimport *
from lb._ext.state cimport LEAN, TRUSTED, side_t
from lb._ext.table cimport listener_t

cdef enum:
    UNSENT_BYTES_MAX = 131072   # and one packet more


cdef inline void set_option(int fd, int level, int name, int value) noexcept nogil:
    setsockopt(fd, level, name, &value, sizeof(value))


cdef inline void set_upstream(int fd) noexcept nogil:
    """Before connect()."""
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1)


cdef inline void set_upstream_file(int fd) noexcept nogil:
    """Of a unix socket, which has no options of TCP."""
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1)


cdef inline bint acknowledge_late(int client, int upstream) noexcept nogil:
    """Before connect(): bytes of the client that wait already will carry the acknowledgement that ends the
    handshake, which spares a packet. True: that is arranged, and acknowledge_soon() is due once they left."""
    cdef int waiting = 0
    if ioctl(client, FIONREAD, &waiting) == -1 or waiting == 0:
        return False
    set_option(upstream, IPPROTO_TCP, TCP_QUICKACK, 0)
    return True


cdef inline void acknowledge_soon(int upstream) noexcept nogil:
    """Else an endpoint that answers in several small writes (Nagle) would wait 40 ms between them."""
    set_option(upstream, IPPROTO_TCP, TCP_QUICKACK, 1)


cdef inline void keep_alive(int fd, const listener_t* line, uint32_t lot) noexcept nogil:
    """Idle and interval are shortened by up to a third, by lot. Sessions that came together would else be
    probed together (the kernel rounds such timers to 2 s): of so many packets at once it drops all but the
    first thousand (net.core.netdev_max_backlog), time after time, and so ends live sessions."""
    cdef uint32_t idle_s = line.keepalive_idle_s
    cdef uint32_t interval_s = line.keepalive_interval_s
    if idle_s == 0:
        return
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s - (lot >> 8) % (idle_s // 3 + 1))
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s - (lot >> 20) % (interval_s // 3 + 1))
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, line.keepalive_count)


cdef inline void silence_at_close(int fd) noexcept nogil:
    """The peer is told nothing; without CAP_NET_ADMIN as little as can be. Unix sockets are just closed."""
    cdef int on = 1
    if setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) == 0:
        return
    set_option(fd, IPPROTO_IP, IP_TTL, 1)
    set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1)
    reset_at_close(fd)


cdef inline void bound_unsent(side_t* side) noexcept nogil:
    """Else the kernel keeps up to net.ipv4.tcp_wmem (4 MiB) for a reader that never reads. It must be set
    before so much is kept: when a stream begins, and for others once they live for a while."""
    if not side.flags & (LEAN | TRUSTED):
        side.flags |= LEAN
        set_option(side.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


cdef inline void free_unsent(side_t* side) noexcept nogil:
    """It reads: a bound would only make portions small (twice the CPU for each byte, measured)."""
    side.flags = (side.flags & ~LEAN) | TRUSTED
    set_option(side.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0)


cdef inline void reset_at_close(int fd) noexcept nogil:
    """Also throws away what send() accepted and the peer has not acknowledged."""
    cdef linger_t linger
    if fd != -1:
        linger.l_onoff, linger.l_linger = 1, 0
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger))
