"""What a message that is larger than RAM is read from, each time that it is sent."""

import os

from micropython import const

from ..packet import MQTTError

_MOST = const(0xFFDFFFF)


class SourceError(MQTTError):
    """The payload of a message could not be read, so the message was given up.

    Its arguments: the source's path (or the source), and why: an error, or its size in bytes where
    that has changed since ``publish``.
    """


class Source:
    """A payload that is read piece by piece: ``client.publish("cam/image", Source("image.jpg"))``.

    ``what`` is one of

        the path of a file, a str: all of it
        a stream that can seek: from where it stands now
        a function that returns a stream, called each time that the message is sent
        any other stream, which can be read only once: for QoS 0

    A stream is whatever has ``readinto(buffer)``; it must have the bytes when it is asked.
    ``size``: of the payload, in bytes: needed for the last two. What it leads to must not change
    until the message is ``done``. Raises OSError, ValueError, TypeError.
    """

    path = ""
    start = None  # of a stream that can seek
    again = True  # whether it can be read again

    def __init__(self, what, size: int | None = None) -> None:
        if isinstance(what, str):
            self.path = what
            if size is None:
                size = os.stat(what)[6]
        elif hasattr(what, "readinto") and not isinstance(what, type):
            self.again = False
            try:
                start = what.seek(0, 1)
                if size is None:
                    size = what.seek(0, 2) - start
                    what.seek(start)  # where another one may begin, too
                self.start = start
                self.again = True
            except (AttributeError, OSError):
                pass
        elif not callable(what):
            raise TypeError("a path, a stream or a function", what)
        # Section 2.2.3: what a packet can hold, topic and properties beside it.
        if not isinstance(size, int) or not 0 <= size <= _MOST:
            raise ValueError("size", size)
        self.what = what
        self.size = size

    def open(self):
        """Return a stream at its first byte, and what closes it, or None.

        Raises SourceError, and whatever a stream or function raises.
        """
        what = self.what
        if self.path:
            what = open(what, "rb")  # closed when all is sent, or the connection is lost
            n = what.seek(0, 2)
            if n != self.size:
                what.close()
                raise SourceError(self.path, n)
            what.seek(0)
            return what, what.close
        if self.start is not None:
            what.seek(self.start)
        elif self.again:
            what = what()
            return what, getattr(what, "close", None)
        return what, None
