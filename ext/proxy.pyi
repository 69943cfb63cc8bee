from typing import TypedDict

class Told(TypedDict):
    size: int
    client: tuple[str, int] | None
    destination: tuple[str, int] | None
    authority: bytes | None
    alpn: bytes | None
    unique_id: bytes | None

def parse(data: bytes) -> Told | None: ...
