def build(
    version: int,
    client: tuple[str, int] | None,
    destination: tuple[str, int] | None,
    *,
    name: bytes = b"",
    protocol: bytes = b"",
    unique_id: bytes = b"",
) -> bytes: ...
