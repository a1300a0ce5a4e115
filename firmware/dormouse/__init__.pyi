"""Types of the public names, for editors and type checkers. Not for the device.

Each module that users import has a .pyi of its own: annotations in the modules themselves cannot
say what options there are, and a checker would look at the bodies, which are MicroPython's.
`make lint` compares them with the modules (mypy's stubtest).
"""

from .client import Client as Client
from .packet import ConnectionLost as ConnectionLost
from .packet import MQTTError as MQTTError
from .packet import ProtocolError as ProtocolError
from .packet import Will as Will
from .session import Message as Message
from .session import OutboxFull as OutboxFull
from .session import Refused as Refused
from .session import Session as Session
from .session import SessionLost as SessionLost
from .trouble import Undeliverable as Undeliverable
