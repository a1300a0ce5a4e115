"""Names that the package loads when they are asked for; its modules have types of their own."""

from .source import Source as Source
from .source import SourceError as SourceError
from .taking import Incomplete as Incomplete
