# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Access-log lines on their way out: rings in shared memory, and the writer's loop, which needs no GIL."""
import os

from libc.string cimport memcpy, memset

from lb._ext.linux cimport *
from lb._ext.table cimport LAYOUT

cdef uint64_t MAGIC = 0x6C622072696E6720  # "lb ring "

cdef enum:
    RINGS_MAX = 64
    WAIT_MS = 100               # how long a line may lie before it is looked for
    FAULT_WAIT_MS = 500         # after a failed write (a full disk), before the next try


# ---- The ring ---------------------------------------------------------------------------------------

cdef ring_t* map_ring(int fd) noexcept nogil:
    """NULL when it is not a ring of this version."""
    cdef stat_t found
    cdef ring_t* ring
    if fstat(fd, &found) == -1 or found.st_size != RING_HEAD_BYTES + RING_BYTES:
        return NULL
    ring = <ring_t*>mmap(NULL, found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if ring == <ring_t*>MAP_FAILED:
        return NULL
    if ring.magic != MAGIC or ring.layout != LAYOUT:
        munmap(ring, found.st_size)
        return NULL
    return ring


cdef void unmap_ring(ring_t* ring) noexcept nogil:
    if ring != NULL:
        munmap(ring, RING_HEAD_BYTES + RING_BYTES)


cdef bint put_line(ring_t* ring, const char* line, uint32_t size) noexcept nogil:
    """False: there was no room."""
    cdef char* data = <char*>ring + RING_HEAD_BYTES
    cdef uint64_t head = ring.head
    cdef uint64_t at = head % RING_BYTES
    cdef uint64_t first = min(<uint64_t>size, RING_BYTES - at)
    if head + size - load_acquire(&ring.tail) > RING_BYTES:
        return False
    memcpy(data + at, line, first)
    memcpy(data, line + first, size - first)
    store_release(&ring.head, head + size)
    return True


cdef class RingMap:
    """A ring that the supervisor made. `fd` is for a worker; both are the supervisor's to close."""

    cdef ring_t* ring
    cdef readonly int fd

    def __cinit__(self):
        cdef ring_t header
        memset(&header, 0, sizeof(header))
        header.magic, header.layout = MAGIC, LAYOUT
        self.fd = os.memfd_create("lb-access", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, RING_HEAD_BYTES + RING_BYTES)
        os.pwrite(self.fd, (<char*>&header)[:sizeof(header)], 0)
        self.ring = map_ring(self.fd)
        if self.ring == NULL:
            raise MemoryError("a ring could not be mapped")

    def __dealloc__(self):
        unmap_ring(self.ring)

    def put(self, bytes line) -> bool:
        """One line, as a worker would put it; False when there is no room."""
        return put_line(self.ring, line, <uint32_t>len(line))

    def take(self) -> bytes:
        """All that lies in the ring, as the writer would take it; not while a writer runs."""
        cdef uint64_t head = load_acquire(&self.ring.head)
        cdef uint64_t at = self.ring.tail % RING_BYTES
        cdef uint64_t size = head - self.ring.tail
        cdef char* data = <char*>self.ring + RING_HEAD_BYTES
        cdef uint64_t first = min(size, RING_BYTES - at)
        taken = data[at:at + first] + data[:size - first]
        store_release(&self.ring.tail, head)
        return taken

    @property
    def waiting_bytes(self) -> int:
        return load_acquire(&self.ring.head) - load_acquire(&self.ring.tail)


# ---- The writer -------------------------------------------------------------------------------------

cdef class RingWriter:
    """Writes what the rings hold to a descriptor, until told to stop. run() is for a thread of its own.

    Lines go out in the order of each ring; a line is never torn by another ring's, nor over two files. A
    write that fails is tried again later: meanwhile the ring fills, and then workers drop and count.
    """

    cdef ring_t* rings[RINGS_MAX]
    cdef list kept
    cdef int count
    cdef int fd
    cdef int bell                     # an eventfd: something changed
    cdef bint stopping
    cdef bint torn                    # the last write ended amid a line
    cdef uint64_t fresh               # a descriptor + 1, for the next line and after; owned; 0: none
    cdef readonly uint64_t written_bytes
    cdef readonly uint64_t faults_total

    def __cinit__(self, list rings, int fd):
        self.bell = -1
        if len(rings) > RINGS_MAX:
            raise ValueError(f"{len(rings)} rings; {RINGS_MAX} are possible")
        self.kept, self.count, self.fd = rings, len(rings), fd
        for i, ring in enumerate(rings):
            self.rings[i] = (<RingMap?>ring).ring
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __dealloc__(self):
        if self.bell != -1:
            close(self.bell)
        if self.fresh:
            close(<int>self.fresh - 1)

    def change(self, int fd) -> None:
        """The next line goes to the file behind `fd`, which is the writer's to close: its own descriptor
        keeps its number."""
        cdef uint64_t before = exchange(&self.fresh, <uint64_t>(fd + 1))
        if before:
            close(<int>before - 1)
        os.eventfd_write(self.bell, 1)

    def stop(self) -> None:
        """run() returns once the rings are empty, or at the first write that fails."""
        self.stopping = True
        os.eventfd_write(self.bell, 1)

    def run(self) -> None:
        with nogil:
            write_until_stopped(self)


cdef void write_until_stopped(RingWriter w) noexcept nogil:
    cdef int i, moved, outcome
    cdef uint64_t rings
    cdef pollfd bell
    bell.fd, bell.events = w.bell, POLLIN
    while True:
        moved = 0
        for i in range(w.count):
            outcome = empty(w, w.rings[i])
            while outcome == -1:  # half a line may be out: another ring's must not come between
                w.faults_total += 1
                if w.stopping:
                    return
                poll(&bell, 1, FAULT_WAIT_MS)
                read(w.bell, &rings, sizeof(rings))
                outcome = empty(w, w.rings[i])
            moved += outcome
        if moved == 0:
            if w.stopping:
                return
            if poll(&bell, 1, WAIT_MS) == 1 and not w.stopping:
                read(w.bell, &rings, sizeof(rings))


cdef void change_file(RingWriter w, ring_t* ring) noexcept nogil:
    cdef uint64_t fresh = exchange(&w.fresh, 0)
    if dup3(<int>fresh - 1, w.fd, O_CLOEXEC) == -1:
        w.faults_total += 1  # the former file goes on
    elif w.torn:
        skip_half(w, ring)
    close(<int>fresh - 1)


cdef void skip_half(RingWriter w, ring_t* ring) noexcept nogil:
    """The end of a line whose beginning lies in another file. What was written is not looked at again: a
    worker may have put something in its place."""
    cdef char* data = <char*>ring + RING_HEAD_BYTES
    cdef uint64_t tail = ring.tail
    cdef uint64_t head = load_acquire(&ring.head)
    while w.torn and tail != head:
        w.torn = data[tail % RING_BYTES] != b"\n"
        tail += 1
    store_release(&ring.tail, tail)


cdef uint64_t exchange(uint64_t* place, uint64_t value) noexcept nogil:
    cdef uint64_t before = load_acquire(place)
    while not swap_if(place, &before, value):
        pass
    return before


cdef int empty(RingWriter w, ring_t* ring) noexcept nogil:
    """1: something was written; 0: there was nothing; -1: the descriptor takes nothing."""
    cdef char* data = <char*>ring + RING_HEAD_BYTES
    cdef uint64_t head = load_acquire(&ring.head)
    cdef uint64_t tail, at, size
    cdef ssize_t written
    if load_acquire(&w.fresh):  # looked at after the head: a line that was put since goes to the new file
        change_file(w, ring)
    tail = ring.tail
    if head == tail:
        return 0
    while tail != head:
        at = tail % RING_BYTES
        size = min(head - tail, RING_BYTES - at)
        written = write(w.fd, data + at, size)
        if written == -1:
            if errno == EINTR:
                continue
            if errno == EAGAIN and wait_writable(w.fd):
                continue
            return -1
        w.torn = data[at + written - 1] != b"\n"
        tail += written
        w.written_bytes += written
        store_release(&ring.tail, tail)
    return 1


cdef bint wait_writable(int fd) noexcept nogil:
    cdef pollfd waited
    waited.fd, waited.events = fd, POLLOUT
    return poll(&waited, 1, FAULT_WAIT_MS) == 1
