"""A pseudo-terminal as a serial line on CPython; opened where asyncio runs."""

import asyncio

from dormouse.net import Serial


class Line:
    """As ``Serial``."""

    def __init__(self, path):
        self.path = path
        self.serial = None

    async def open_stream(self, *address):
        if not self.serial:
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), open(self.path, "rb", 0)
            )
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, open(self.path, "wb", 0)
            )
            self.serial = Serial((reader, asyncio.StreamWriter(transport, protocol, None, loop)))
            self.read = self.serial.read
            self.write = self.serial.write
        return await self.serial.open_stream(*address)
