"""A time server (RFC 4330) on loopback that answers as a test wants.

with TimeServer(lambda: board.time) as server:
    ...                                              # a device asks at server.port
    assert server.asked == 1
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

NTP = 2_208_988_800  # seconds from 1900 to 1970


class TimeServer:
    """Answers until the end of the `with`. `time`: returns seconds since 1970.

    `how`: "right"; "silent"; "unset": it says that its own clock is not set; "kiss": a
    kiss-o'-death (stratum 0); "stranger": an answer to a question that was not asked; "short": it
    ends before the time; "client": a packet that no server sends; "zero": it tells no time.
    """

    def __init__(self, time: Callable[[], float], how: str = "right", lost: int = 0):
        """lost: so many questions get no answer first."""
        self.time = time
        self.how = how
        self.lost = lost
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, address = self._socket.recvfrom(512)
            if not query:
                return
            self.asked += 1
            assert len(query) == 48 and query[0] & 7 == 3, query
            if self.how != "silent" and self.asked > self.lost:
                self._socket.sendto(self._answer(query), address)

    def _answer(self, query: bytes) -> bytes:
        s, part = divmod(self.time() + NTP, 1)
        stamp = struct.pack("!II", int(s) & 0xFFFFFFFF, int(part * 2**32))
        first, stratum, nonce = 0x24, 2, query[40:]  # version 4, mode 4: server
        if self.how == "unset":
            first |= 0xC0
        elif self.how == "kiss":
            stratum = 0
        elif self.how == "client":
            first = 0x23
        elif self.how == "stranger":
            nonce = bytes(8)
        head = bytes((first, stratum, 6, 0xEC)) + bytes(12)
        if self.how == "zero":
            stamp = bytes(8)
        packet = head + stamp + nonce + stamp + stamp
        return packet[:40] if self.how == "short" else packet

    def close(self) -> None:
        """End the server."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
            mine.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def __enter__(self) -> TimeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
