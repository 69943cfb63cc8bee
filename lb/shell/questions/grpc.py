"""The standard health protocol of gRPC: Check of grpc.health.v1.Health, over HTTP/2 by h2.

Its two messages are one field each, so they are read and written here: the request names a service (field 1,
a text), the response has a status (field 1, a number).
"""

from __future__ import annotations

from dataclasses import dataclass

import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from lb.model.address import Address, SocketAddress
from lb.model.check import GrpcHealth
from lb.shell.questions.answer import Connection, Failed, Passed, quoted

CHUNK_BYTES = 16 * 1024
MESSAGE_BYTES_MAX = 1024
TYPE_AT, SETTINGS = 3, b"\x04"  # of the first frame, which is of this type
SERVING = 1
STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
# https://grpc.io/docs/guides/status-codes/
CODES = {
    "5": "NOT_FOUND",
    "7": "PERMISSION_DENIED",
    "12": "UNIMPLEMENTED",
    "14": "UNAVAILABLE",
    "16": "UNAUTHENTICATED",
}


@dataclass
class Heard:
    """What has come of the one response."""

    status: str = ""
    code: str | None = None
    message: str = ""
    body: bytes = b""
    ended: bool = False


async def ask(connection: Connection, grpc: GrpcHealth, address: SocketAddress) -> Passed:
    reader, writer = connection
    http = h2.connection.H2Connection()
    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    over_tls = writer.get_extra_info("ssl_object") is not None
    http.send_headers(stream, headers(grpc, address, "https" if over_tls else "http"))
    http.send_data(stream, framed(request(grpc.service)), end_stream=True)
    heard, beginning = Heard(), b""
    while not heard.ended:
        writer.write(http.data_to_send())
        if not (chunk := await reader.read(CHUNK_BYTES)):
            raise Failed("closed without an answer")
        if len(beginning) <= TYPE_AT:
            beginning += chunk
            if beginning[TYPE_AT : TYPE_AT + 1] not in (b"", SETTINGS):  # h2 would wait for the rest of it
                raise Failed(f"not HTTP/2: {quoted(beginning)}")
        try:
            take(http, chunk, heard)
        except h2.exceptions.ProtocolError as error:
            raise Failed(f"not HTTP/2: {quoted(chunk)}") from error
    http.close_connection()
    writer.write(http.data_to_send())
    return judged(heard)


def headers(grpc: GrpcHealth, address: SocketAddress, scheme: str) -> list[tuple[str, str]]:
    host = grpc.host or (str(address) if isinstance(address, Address) else "localhost")
    return [
        (":method", "POST"),
        (":scheme", scheme),
        (":authority", host),
        (":path", "/grpc.health.v1.Health/Check"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "lb-check"),
    ]


def request(service: str) -> bytes:
    """A text of up to 127 bytes has a length of one byte."""
    name = service.encode()
    return b"\x0a%c%s" % (len(name), name) if name else b""


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def take(http: h2.connection.H2Connection, chunk: bytes, heard: Heard) -> None:
    for event in http.receive_data(chunk):
        if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            found = {text_of(name): text_of(value) for name, value in event.headers or ()}
            heard.status = found.get(":status", heard.status)
            heard.code = found.get("grpc-status", heard.code)
            heard.message = found.get("grpc-message", heard.message)
        elif isinstance(event, h2.events.DataReceived):
            heard.body += event.data or b""
            http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            if len(heard.body) > MESSAGE_BYTES_MAX:
                raise Failed(f"not gRPC: a body of more than {MESSAGE_BYTES_MAX} bytes")
        elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
            raise Failed(f"closed by HTTP/2: {name_of(event.error_code)}")
        elif isinstance(event, h2.events.StreamEnded):
            heard.ended = True
            return  # what else may come, as a goodbye, is none of this answer


def text_of(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("ascii", "backslashreplace")


def name_of(code: int | None) -> str:
    try:
        return h2.errors.ErrorCodes(code or 0).name
    except ValueError:
        return str(code)


def judged(heard: Heard) -> Passed:
    """Raises Failed for any status but SERVING."""
    if heard.status != "200":
        raise Failed(f"not gRPC: answered HTTP {heard.status}")
    if heard.code != "0":
        text = f"answered {CODES.get(heard.code or '', f'gRPC status {quoted(str(heard.code).encode())}')}"
        raise Failed(f"{text}: {quoted(heard.message.encode())}" if heard.message else text)
    status = status_of(heard.body)
    if status != SERVING:
        raise Failed(f"answered {STATUSES.get(status, status)}")
    return Passed(STATUSES[SERVING])


def status_of(body: bytes) -> int:
    """A field that is 0 is left out. Raises Failed."""
    size = int.from_bytes(body[1:5], "big")
    message = body[5 : 5 + size]
    if body[:1] != b"\0" or len(body) < 5 + size or (message and not message.startswith(b"\x08")):
        raise Failed(f"not gRPC: {quoted(body)}")
    return message[1] if len(message) > 1 else 0
