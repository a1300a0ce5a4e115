"""Names that the package loads when they are asked for; its modules have types of their own."""

from .clock import Clock as Clock
from .serial import Serial as Serial
from .tls import context as context
from .wifi import Wifi as Wifi
from .ws import WebSocket as WebSocket
