"""The policies in plain Python: slow, obvious, and written from their papers, not from the data path."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

WORD = (1 << 64) - 1
FADE_S = 10.0


# ---- Hashes ----


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4, as its paper writes it down."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k ^ int.from_bytes(word, "big") for k, word in zip((k0, k1, k0, k1), SIP_WORDS, strict=True)]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        for _ in range(2):
            sip_round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


SIP_WORDS = (b"somepseu", b"dorandom", b"lygenera", b"tedbytes")


def sip_round(v: list[int]) -> None:
    for a, b, first, second in ((0, 1, 13, 32), (2, 3, 16, None), (0, 3, 21, None), (2, 1, 17, 32)):
        v[a] = (v[a] + v[b]) & WORD
        v[b] = rotated(v[b], first) ^ v[a]
        if second is not None:
            v[a] = rotated(v[a], second)


def rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & WORD


def mixed(hash: int, number: int) -> int:
    if number == 0:
        return hash
    x = (hash + number * 0x9E3779B97F4A7C15) & WORD
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31


# ---- Maglev's table ----


def maglev(weights: dict[str, int], size: int) -> list[str]:
    """The names by slot. Everybody is asked in every round, first who has waited longest, and whoever has a
    turn walks the list of its preferences from the start."""
    heaviest = max(weights.values())
    wishes = {name: preferences(name, size) for name in weights}
    had = dict.fromkeys(weights, 0)
    slots: dict[int, str] = {}
    waiting = sorted(weights)
    number = 1
    while len(slots) < size:
        for name in list(waiting):
            share = math.floor(Fraction(number * weights[name], heaviest) + Fraction(1, 2))
            if len(slots) < size and max(share, 1) > had[name]:
                slots[next(slot for slot in wishes[name] if slot not in slots)] = name
                had[name] += 1
                waiting.append(waiting.pop(waiting.index(name)))
        number += 1
    return [slots[slot] for slot in range(size)]


def preferences(name: str, size: int) -> list[int]:
    offset = siphash(bytes(8) + (1).to_bytes(8, "little"), name.encode()) % size
    skip = siphash(bytes(8) + (2).to_bytes(8, "little"), name.encode()) % (size - 1) + 1
    return [(offset + k * skip) % size for k in range(size)]


# ---- Lots ----


def shares(weights: dict[int, int]) -> dict[int, Fraction]:
    """How likely each is, when drawn by weight."""
    total = sum(weights.values())
    return {number: Fraction(weight, total) for number, weight in weights.items()}


def shares_of_two(weights: dict[int, int], burden: dict[int, float]) -> dict[int, Fraction]:
    """How likely each is to be the lighter of two that were drawn by weight; no two burdens are equal."""
    found = dict.fromkeys(weights, Fraction(0))
    for first, likely in shares(weights).items():
        rest = {number: weight for number, weight in weights.items() if number != first}
        for second, then in shares(rest).items() if rest else [(first, Fraction(1))]:
            found[min(first, second, key=burden.__getitem__)] += likely * then
    return found


def chi_square(counts: dict[int, int], expected: dict[int, Fraction]) -> float:
    """Over what can be at all. About the number of degrees of freedom, when all is as expected."""
    total = sum(counts.values())
    return sum(
        (counts.get(number, 0) - total * share) ** 2 / float(total * share)
        for number, share in expected.items()
        if share
    )


# ---- Costs ----


@dataclass
class Column:
    """One worker's memory of one endpoint: Finagle's peak EWMA."""

    cost: float = 0.0
    at_s: float = 0.0

    def sample(self, cost: float, now_s: float) -> None:
        if cost >= self.cost:
            self.cost = cost
        else:
            kept = math.exp(-(now_s - self.at_s) / FADE_S)
            self.cost = self.cost * kept + cost * (1 - kept)
        self.at_s = now_s

    def now(self, now_s: float) -> float:
        return self.cost * math.exp(-(now_s - self.at_s) / FADE_S)


@dataclass
class Costs:
    columns: list[Column] = field(default_factory=list)

    def now(self, now_s: float) -> float:
        return max(column.now(now_s) for column in self.columns)
