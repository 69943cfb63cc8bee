"""Mutations of bytes from a seed: as many as CI has time for, or LB_FUZZ of them, from LB_FUZZ_SEED on."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

CASES = int(os.environ.get("LB_FUZZ", "20000"))
SEED = int(os.environ.get("LB_FUZZ_SEED", "1"))
STEPS_MAX = 4
RUN_BYTES_MAX = 24


def mutated(corpus: Sequence[bytes], count: int = CASES) -> Iterator[bytes]:
    """Each is one of the corpus after a few mutations; each tenth is a start of one and then random bytes."""
    lot = random.Random(SEED)
    print(f"\n{count} cases, seed {SEED}")
    for number in range(count):
        data = bytearray(lot.choice(corpus))
        if number % 10 == 0:
            data[lot.randrange(len(data) + 1) :] = lot.randbytes(lot.randrange(300))
        else:
            for _ in range(lot.randint(1, STEPS_MAX)):
                _mutate(lot, data, corpus)
        yield bytes(data)


def _mutate(lot: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = lot.randrange(len(data) + 1)
    end = min(len(data), at + lot.randint(1, RUN_BYTES_MAX))
    kind = lot.randrange(8)
    if kind == 0:
        data[at:at] = lot.randbytes(lot.randint(1, RUN_BYTES_MAX))
    elif kind == 1:
        del data[at:end]
    elif kind == 2:
        data[at:at] = data[at:end]
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        other = lot.choice(corpus)
        start = lot.randrange(len(other) + 1)
        data[at:end] = other[start : start + lot.randint(1, RUN_BYTES_MAX)]
    elif at < len(data):  # one byte: what a length or a kind is made of
        data[at] = lot.choice((0, 1, 2, 0xFF, data[at] ^ 1 << lot.randrange(8), data[at] + 1 & 0xFF))
