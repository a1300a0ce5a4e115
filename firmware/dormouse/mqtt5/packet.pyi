"""Types of packet5.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..packet import ProtocolError, _Bytes, _Payload, _Will

_Properties = dict[str, Any]  # table 2-4; the types are told in packet5.py

class ProtocolError5(ProtocolError):
    code: int
    def __init__(self, first: int, code: int) -> None: ...

def encode_properties(kind: int, values: Mapping[str, Any] | None) -> bytes: ...
def connect(
    client_id: str,
    clean: bool,
    keepalive: int,
    will: _Will | None,
    username: str | None,
    password: _Payload | None,
    properties: Mapping[str, Any] | None = None,
    will_properties: Mapping[str, Any] | None = None,
) -> bytearray: ...
def publish(
    topic: str, payload: _Payload, qos: int, retain: bool, pid: int, properties: bytes
) -> bytearray: ...
def request(
    first: int,
    pid: int,
    filters: Iterable[tuple[str, int]] | Iterable[str],
    properties: Mapping[str, Any] | None = None,
) -> bytearray: ...
def ack(
    first: int, pid: int, code: int = 0, properties: Mapping[str, Any] | None = None
) -> bytearray: ...
def disconnect(code: int = 0, properties: Mapping[str, Any] | None = None) -> bytearray: ...
def auth(code: int, properties: Mapping[str, Any] | None) -> bytearray: ...
def read_properties(
    first: int, body: _Bytes, at: int, users: bool | int = True
) -> tuple[_Properties, int]: ...
def read_publish(
    first: int, body: _Bytes, users: bool | int = True
) -> tuple[str, bytes, int, int, _Properties]: ...
def read_connack(body: _Bytes) -> tuple[int, int, _Properties]: ...
def read_ack(first: int, body: _Bytes, known: int = 255) -> tuple[int, int, _Properties]: ...
def read_suback(
    first: int, body: _Bytes, known: int = 255
) -> tuple[int, list[int], _Properties]: ...
def read_disconnect(body: _Bytes) -> tuple[int, _Properties]: ...
def read_auth(body: _Bytes) -> tuple[int, _Properties]: ...
