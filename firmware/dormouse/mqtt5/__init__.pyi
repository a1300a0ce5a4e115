"""Names that the package loads when they are asked for; its modules have types of their own."""

from .request import Requester as Requester
from .request import respond as respond
from .session import Codes as Codes
from .session import Disconnected as Disconnected
from .session import Failed as Failed
from .session import Session5 as Session5
