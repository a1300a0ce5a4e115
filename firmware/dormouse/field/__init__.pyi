"""Names that the package loads when they are asked for; its modules have types of their own."""

from .large_ota import LargeOta as LargeOta
from .led import LED as LED
from .log import Log as Log
from .ota import Ota as Ota
