from typing import TypedDict

class Hello(TypedDict):
    name: bytes
    protocols: bytes
    sole_protocol: bytes

def read(data: bytes) -> Hello | None: ...
