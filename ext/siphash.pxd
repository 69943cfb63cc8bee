# cython: language_level=3
"""SipHash-2-4 (Aumasson and Bernstein, 2012): a hash with a key, so that clients cannot aim at an endpoint.

The same on every machine: instances of lb that have one key agree on every client.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "endian.h" nogil:
    uint64_t le64toh(uint64_t value)

cdef struct sip_t:
    uint64_t v0
    uint64_t v1
    uint64_t v2
    uint64_t v3


cdef inline uint64_t rotated(uint64_t x, int bits) noexcept nogil:
    return x << bits | x >> (64 - bits)


cdef inline void sip_round(sip_t* v) noexcept nogil:
    v.v0 += v.v1
    v.v2 += v.v3
    v.v1 = rotated(v.v1, 13) ^ v.v0
    v.v3 = rotated(v.v3, 16) ^ v.v2
    v.v0 = rotated(v.v0, 32)
    v.v2 += v.v1
    v.v0 += v.v3
    v.v1 = rotated(v.v1, 17) ^ v.v2
    v.v3 = rotated(v.v3, 21) ^ v.v0
    v.v2 = rotated(v.v2, 32)


cdef inline void sip_take(sip_t* v, uint64_t word) noexcept nogil:
    v.v3 ^= word
    sip_round(v)
    sip_round(v)
    v.v0 ^= word


cdef inline uint64_t siphash(const uint64_t* key, const void* data, size_t size) noexcept nogil:
    """`key`: 16 bytes, as two words in the order of the machine that reads them as little-endian."""
    cdef const uint8_t* at = <const uint8_t*>data
    cdef const uint8_t* end = at + (size & ~<size_t>7)
    cdef uint64_t k0 = le64toh(key[0])
    cdef uint64_t k1 = le64toh(key[1])
    cdef uint64_t word
    cdef sip_t v
    cdef int _
    v.v0, v.v1 = k0 ^ <uint64_t>0x736F6D6570736575, k1 ^ <uint64_t>0x646F72616E646F6D
    v.v2, v.v3 = k0 ^ <uint64_t>0x6C7967656E657261, k1 ^ <uint64_t>0x7465646279746573
    while at < end:
        memcpy(&word, at, 8)
        sip_take(&v, le64toh(word))
        at += 8
    word = 0
    memcpy(&word, at, size & 7)
    sip_take(&v, le64toh(word) | <uint64_t>size << 56)
    v.v2 ^= 0xFF
    for _ in range(4):
        sip_round(&v)
    return v.v0 ^ v.v1 ^ v.v2 ^ v.v3


cdef inline uint64_t mixed(uint64_t hash, uint64_t number) noexcept nogil:
    """Another hash for each number, and for 0 the same one (SplitMix64: Steele, Lea and Flood, 2014)."""
    cdef uint64_t x = hash + number * <uint64_t>0x9E3779B97F4A7C15
    if number == 0:
        return hash
    x = (x ^ x >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ x >> 27) * <uint64_t>0x94D049BB133111EB
    return x ^ x >> 31
