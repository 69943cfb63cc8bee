# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The snapshot: compiled here from plain values, and checked here before a worker looks anything up in it.

The compiler runs in the supervisor, the check in every worker. The check costs one pass and means that the
hot path need not doubt an index: every id in the table is in range and present.
"""
import os
import re
from array import array
from math import gcd

from libc.string cimport memcpy, memset

from lb._ext.board cimport ENDPOINTS_MAX
from lb._ext.linux cimport *
from lb._ext.maglev cimport maglev_slots

cdef enum:
    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL
    SIZE_MAX = 1 << 30          # 16384 endpoints with the longest schedules are under 64 MiB

cdef uint64_t MAGIC = 0x6C62207461626C65  # "lb table"

TEXT_PLAIN = re.compile(r'[^\x00-\x1f"\\\x7f]*')

# The tables of the snapshot before, by size and members: most changes are of health, and leave them alone.
cdef dict tables_before = {}


def compile_table(snapshot) -> int:
    """Writes a snapshot into a sealed memfd and returns the descriptor, which is the caller's.

    `snapshot` has the attributes that lb.model.snapshot describes. Raises ValueError for text that JSON would
    have to escape and for an id that is not there.
    """
    global tables_before
    cdef Compiler compiler = Compiler(snapshot)
    parts = compiler.parts()
    tables_before = compiler.tables
    fd = os.memfd_create("lb-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:  # not joined: tables of hashing policies are large
            left = memoryview(part).cast("B") if part else b""
            while left:
                left = left[os.write(fd, left):]
        if fcntl(fd, F_ADD_SEALS, SEALS) == -1:
            raise OSError(errno, "the snapshot's memory could not be sealed")
    except BaseException:
        os.close(fd)
        raise
    return fd


POLICIES = {
    "round_robin": POLICY_ROUND_ROBIN, "least_connections": POLICY_LEAST_CONNECTIONS,
    "power_of_two": POLICY_POWER_OF_TWO, "peak_ewma": POLICY_PEAK_EWMA, "random": POLICY_RANDOM,
    "source_hash": POLICY_SOURCE_HASH, "maglev": POLICY_MAGLEV,
}
HASHED_ON = {"source_ip": HASH_SOURCE_IP, "source_ip_port": HASH_SOURCE_IP_PORT, "sni": HASH_SNI}
REFUSED_BY = {"reset": REFUSE_BY_RESET, "close": REFUSE_BY_CLOSE, "silence": REFUSE_BY_SILENCE}
PROXY_VERSIONS = {"v1": 1, "v2": 2}
LAYOUT_VERSION = LAYOUT
TABLE_ATTEMPTS_MAX = ATTEMPTS_MAX


cdef class Compiler:
    """Lays the parts out one after the other, those with 64-bit fields first: header, listeners, pools,
    IPv6 ranges, endpoints, ids, IPv4 ranges, hosts, text.

    Lists of networks that are equal are laid out once.
    """

    cdef object snapshot
    cdef object ids             # array of uint32
    cdef bytearray ranges4, ranges6, hosts, text
    cdef dict texts, networks, tables
    cdef dict divisors          # of the eligible endpoints' weights, by id; pools come before endpoints

    def __init__(self, snapshot):
        self.snapshot, self.ids = snapshot, array("I")
        self.texts, self.networks, self.tables, self.divisors = {}, {}, {}, {}
        self.ranges4, self.ranges6, self.hosts, self.text = bytearray(), bytearray(), bytearray(), bytearray()

    cdef list parts(self):
        cdef header_t header
        listeners = b"".join([self.listener(line) for line in self.snapshot.listeners])
        pools = b"".join([self.pool(line) for line in self.snapshot.pools])
        endpoints = b"".join([
            self.endpoint(line, number) for number, line in enumerate(self.snapshot.endpoints)])
        memset(&header, 0, sizeof(header))
        header.magic, header.layout = MAGIC, LAYOUT
        header.generation = self.snapshot.generation
        header.listeners_count = len(self.snapshot.listeners)
        header.pools_count = len(self.snapshot.pools)
        header.endpoints_count = len(self.snapshot.endpoints)
        header.ids_count = len(self.ids)
        header.ranges4_count = len(self.ranges4) // sizeof(range4_t)
        header.ranges6_count = len(self.ranges6) // sizeof(range6_t)
        header.hosts_count = len(self.hosts) // sizeof(address_t)
        header.access_rate_max = self.snapshot.access_rate_max
        header.listeners_offset = sizeof(header_t)
        header.pools_offset = header.listeners_offset + len(listeners)
        header.ranges6_offset = header.pools_offset + len(pools)
        header.endpoints_offset = header.ranges6_offset + len(self.ranges6)
        header.ids_offset = header.endpoints_offset + len(endpoints)
        header.ranges4_offset = header.ids_offset + len(self.ids) * sizeof(uint32_t)
        header.hosts_offset = header.ranges4_offset + len(self.ranges4)
        header.text_offset = header.hosts_offset + len(self.hosts)
        header.text_size = len(self.text)
        header.size = header.text_offset + header.text_size
        return [(<char*>&header)[:sizeof(header)], listeners, pools, self.ranges6, endpoints, self.ids,
                self.ranges4, self.hosts, self.text]

    cdef bytes listener(self, line):
        cdef listener_t out
        memset(&out, 0, sizeof(out))
        if line is not None:
            out.present, out.name = 1, self.put(line.name)
            if not is_there(self.snapshot.pools, line.pool):
                raise ValueError(f"listener {line.name}: pool {line.pool} is not in the snapshot")
            out.pool, out.sessions_max = line.pool, line.sessions_max
            out.idle_ms, out.half_close_ms = line.idle_ms, line.half_close_ms
            out.reset_linger_ms = line.reset_linger_ms
            out.keepalive_idle_s, out.keepalive_interval_s, out.keepalive_count = line.keepalive_s
            out.routing_ms, out.age_max_ms, out.user_timeout_ms = (
                line.routing_ms, line.age_max_ms, line.user_timeout_ms)
            out.upload_max, out.download_max = line.upload_max, line.download_max
            out.sessions_max_per_source, out.rate_max = line.sessions_max_per_source, line.rate_max
            out.rate_max_per_source = line.rate_max_per_source
            out.dry_run, out.refuse_by = line.dry_run, REFUSED_BY[line.refuse_by.value]
            out.allow, out.deny = self.put_networks(line.allow), self.put_networks(line.deny)
            out.proxied_from = self.put_networks(line.accept_proxy)
            out.opens = (
                (OPEN_PROXY if out.proxied_from.given else 0)
                | (OPEN_HELLO if self.hashes_names(self.snapshot.pools[line.pool]) else 0))
            out.gates = (
                (GATE_NETWORKS if out.allow.given or out.deny.given else 0)
                | (GATE_RATE if out.rate_max else 0)
                | (GATE_SOURCE_SESSIONS if out.sessions_max_per_source else 0)
                | (GATE_SOURCE_RATE if out.rate_max_per_source else 0))
        return (<char*>&out)[:sizeof(out)]

    cdef bint hashes_names(self, pool) except -1:
        return pool.hash is not None and pool.hash.on.value == "sni"

    cdef networks_t put_networks(self, networks) except *:
        cdef networks_t out
        memset(&out, 0, sizeof(out))
        if networks is None:
            return out
        known = self.networks.get(networks)
        if known is None:
            known = self.networks[networks] = (
                len(self.ranges4) // sizeof(range4_t), len(self.ranges6) // sizeof(range6_t))
            self.ranges4 += array("I", [end for span in networks.v4 for end in span]).tobytes()
            self.ranges6 += array("Q", [
                half for span in networks.v6 for end in span
                for half in (end >> 64, end & 0xFFFFFFFFFFFFFFFF)]).tobytes()
        out.given, out.unix_peers = 1, networks.unix
        out.v4_first, out.v6_first = known
        out.v4_count, out.v6_count = len(networks.v4), len(networks.v6)
        return out

    cdef bytes pool(self, line):
        cdef pool_t out
        memset(&out, 0, sizeof(out))
        if line is not None:
            out.present, out.name, out.policy = 1, self.put(line.name), POLICIES[line.policy.value]
            out.connect_timeout_ms = line.connect_timeout_ms
            out.first_byte_timeout_ms = line.first_byte_timeout_ms
            out.attempts_max = min(line.attempts_max, ATTEMPTS_MAX)
            for number in (*line.eligible, *line.schedule):
                if not is_there(self.snapshot.endpoints, number):
                    raise ValueError(f"pool {line.name}: endpoint {number} is not in the snapshot")
            eligible = sorted(set(line.eligible))
            out.eligible_first, out.eligible_count = len(self.ids), len(eligible)
            self.ids.extend(eligible)
            out.schedule_first, out.schedule_count = len(self.ids), len(line.schedule)
            self.ids.extend(line.schedule)
            weights = [max(self.snapshot.endpoints[number].weight, 1) for number in eligible]
            divisor = gcd(*weights)
            self.divisors.update(dict.fromkeys(eligible, divisor))
            out.weight_sum = sum(weights) // divisor if weights else 0
            out.retry_budget_percent = line.retry_budget_percent
            out.queue_max, out.queue_timeout_ms = line.queue_max, line.queue_timeout_ms
            out.send_proxy = PROXY_VERSIONS[line.send_proxy.value] if line.send_proxy is not None else 0
            out.sources_first = len(self.hosts) // sizeof(address_t)
            out.sources_count = len(line.sources)
            for host in line.sources:
                self.put_host(host)
            self.put_hash(&out, line)
        return (<char*>&out)[:sizeof(out)]

    cdef int put_host(self, host) except -1:
        cdef address_t out
        memset(&out, 0, sizeof(out))
        put_address(&out, host, 0)
        self.hosts += (<char*>&out)[:sizeof(out)]
        return 0

    cdef int put_hash(self, pool_t* out, line) except -1:
        out.hash_first = len(self.ids)
        if line.hash is None:
            return 0
        out.hash_on, out.bound_percent = HASHED_ON[line.hash.on.value], line.hash.bound_percent
        memcpy(out.hash_key, <const char*><bytes>line.hash.key, sizeof(out.hash_key))
        for number, _, _ in line.hash.members:
            if not is_there(self.snapshot.endpoints, number):
                raise ValueError(f"pool {line.name}: endpoint {number} is not in the snapshot")
        if line.hash.size:
            self.ids.frombytes(self.slots(line.hash))
        else:
            for number, _, weight in line.hash.members:
                self.ids.extend([number] * weight)
        out.hash_count = len(self.ids) - out.hash_first
        return 0

    cdef bytes slots(self, hash):
        key = hash.size, hash.members
        slots = tables_before.get(key)
        self.tables[key] = slots = maglev_slots(hash.members, hash.size) if slots is None else slots
        return slots

    cdef bytes endpoint(self, line, number):
        cdef endpoint_t out
        memset(&out, 0, sizeof(out))
        if line is not None:
            out.present, out.name, out.pool = 1, self.put(line.name), self.put(line.pool)
            out.address_text = self.put(str(line.address))
            out.weight = max(line.weight, 1) // self.divisors.get(number, 1)
            out.sessions_max = line.sessions_max
            out.eligible = number in self.divisors
            put_place(&out.address, line.address)
        return (<char*>&out)[:sizeof(out)]

    cdef text_t put(self, str text) except *:
        cdef text_t out
        known = self.texts.get(text)
        if known is None:
            if not TEXT_PLAIN.fullmatch(text):
                raise ValueError(f"{text!r} has a character that a record would have to escape")
            data = text.encode()
            if len(data) > TEXT_BYTES_MAX:
                raise ValueError(f"{text!r} has more than {TEXT_BYTES_MAX} bytes")
            known = self.texts[text] = (len(self.text), len(data))
            self.text += data
        out.offset, out.size = known
        return out


cdef bint is_there(lines, number) except -1:
    return 0 <= number < len(lines) and lines[number] is not None


cdef int put_place(place_t* out, address) except -1:
    path = getattr(address, "path", None)
    if path is None:
        return put_address(&out.ip, address.host, address.port)
    data = path.encode()
    if <size_t>len(data) >= sizeof(out.file.sun_path):
        raise ValueError(f"{address}: the path is too long")
    out.file.sun_family = AF_UNIX
    memcpy(out.file.sun_path, <const char*><bytes>data, len(data))
    return 0


cdef int put_address(address_t* out, host, uint16_t port) except -1:
    data = host.encode()
    cdef const char* text = data
    if ":" in host:
        out.v6.sin6_family, out.v6.sin6_port = AF_INET6, htons(port)
        found = inet_pton(AF_INET6, text, &out.v6.sin6_addr)
    else:
        out.v4.sin_family, out.v4.sin_port = AF_INET, htons(port)
        found = inet_pton(AF_INET, text, &out.v4.sin_addr)
    if found != 1:
        raise ValueError(f"{host} is not an address")
    return 0


# ---- The worker's side ------------------------------------------------------------------------------

cdef int map_table(int fd, table_t* table, const char** why) noexcept nogil:
    cdef stat_t found
    cdef int seals = fcntl(fd, F_GET_SEALS)
    cdef const char* base
    if seals == -1 or (seals & SEALS) != SEALS:
        why[0] = "its memory is not sealed"
        return -1
    if fstat(fd, &found) == -1 or found.st_size < <long>sizeof(header_t) or found.st_size > SIZE_MAX:
        why[0] = "its size is impossible"
        return -1
    # Not MAP_SHARED: kernels before 6.7 refuse that for a sealed memfd. Pages are shared all the same.
    base = <const char*>mmap(NULL, found.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
    if base == <const char*>MAP_FAILED:
        why[0] = "it could not be mapped"
        return -1
    table.size = found.st_size
    table.header = <const header_t*>base
    table.listeners = <const listener_t*>(base + table.header.listeners_offset)
    table.pools = <const pool_t*>(base + table.header.pools_offset)
    table.endpoints = <const endpoint_t*>(base + table.header.endpoints_offset)
    table.ids = <const uint32_t*>(base + table.header.ids_offset)
    table.ranges4 = <const range4_t*>(base + table.header.ranges4_offset)
    table.ranges6 = <const range6_t*>(base + table.header.ranges6_offset)
    table.hosts = <const address_t*>(base + table.header.hosts_offset)
    table.text = base + table.header.text_offset
    why[0] = complaint(table)
    if why[0] != NULL:
        unmap_table(table)
        return -1
    return 0


cdef void unmap_table(table_t* table) noexcept nogil:
    if table.header != NULL:
        munmap(<void*>table.header, table.size)
    memset(table, 0, sizeof(table_t))


cdef const char* complaint(const table_t* table) noexcept nogil:
    cdef const header_t* h = table.header
    cdef uint64_t end = sizeof(header_t)
    cdef uint32_t i
    if h.magic != MAGIC or h.layout != LAYOUT:
        return "its layout is another version's"
    if h.size != table.size:
        return "it is truncated"
    if not (part(&end, h.listeners_offset, h.listeners_count, sizeof(listener_t))
            and part(&end, h.pools_offset, h.pools_count, sizeof(pool_t))
            and part(&end, h.ranges6_offset, h.ranges6_count, sizeof(range6_t))
            and part(&end, h.endpoints_offset, h.endpoints_count, sizeof(endpoint_t))
            and part(&end, h.ids_offset, h.ids_count, sizeof(uint32_t))
            and part(&end, h.ranges4_offset, h.ranges4_count, sizeof(range4_t))
            and part(&end, h.hosts_offset, h.hosts_count, sizeof(address_t))
            and part(&end, h.text_offset, h.text_size, 1) and end == h.size):
        return "its parts do not lie one after the other"
    for i in range(h.ids_count):
        if table.ids[i] >= h.endpoints_count or not table.endpoints[table.ids[i]].present:
            return "it names an endpoint that is not there"
    for i in range(h.listeners_count):
        if table.listeners[i].present and not sound_listener(table, &table.listeners[i]):
            return "a listener's line is damaged"
    for i in range(h.pools_count):
        if table.pools[i].present and not sound_pool(h, &table.pools[i]):
            return "a pool's line is damaged"
    for i in range(h.endpoints_count):
        if table.endpoints[i].present and not sound_endpoint(h, &table.endpoints[i]):
            return "an endpoint's line is damaged"
    return NULL


cdef bint part(uint64_t* end, uint32_t offset, uint32_t count, size_t size) noexcept nogil:
    if offset != end[0]:
        return False
    end[0] += <uint64_t>count * size
    return True


cdef bint sound_text(const header_t* h, text_t text) noexcept nogil:
    return text.size <= TEXT_BYTES_MAX and <uint64_t>text.offset + text.size <= h.text_size


cdef bint sound_listener(const table_t* table, const listener_t* line) noexcept nogil:
    return (sound_text(table.header, line.name) and line.pool < table.header.pools_count
            and table.pools[line.pool].present and (line.rate_max or not line.gates & GATE_RATE)
            and (line.rate_max_per_source or not line.gates & GATE_SOURCE_RATE)
            and sound_networks(table.header, &line.allow)
            and sound_networks(table.header, &line.deny) and sound_networks(table.header, &line.proxied_from))


cdef bint sound_networks(const header_t* h, const networks_t* line) noexcept nogil:
    return (<uint64_t>line.v4_first + line.v4_count <= h.ranges4_count
            and <uint64_t>line.v6_first + line.v6_count <= h.ranges6_count)


cdef bint sound_pool(const header_t* h, const pool_t* line) noexcept nogil:
    return (sound_text(h, line.name) and line.attempts_max <= ATTEMPTS_MAX
            and <uint64_t>line.eligible_first + line.eligible_count <= h.ids_count
            and line.eligible_count <= ENDPOINTS_MAX
            and <uint64_t>line.schedule_first + line.schedule_count <= h.ids_count
            and <uint64_t>line.hash_first + line.hash_count <= h.ids_count
            and <uint64_t>line.sources_first + line.sources_count <= h.hosts_count)


cdef bint sound_endpoint(const header_t* h, const endpoint_t* line) noexcept nogil:
    return (sound_text(h, line.name) and sound_text(h, line.pool) and sound_text(h, line.address_text)
            and line.weight > 0
            and (line.address.ip.any.sa_family == AF_INET or line.address.ip.any.sa_family == AF_INET6
                 or (line.address.ip.any.sa_family == AF_UNIX
                     and line.address.file.sun_path[sizeof(line.address.file.sun_path) - 1] == 0)))
