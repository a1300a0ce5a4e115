"""Names that the package loads when they are asked for; its modules have types of their own."""

from .node import Node as Node
from .node import sleep_budget as sleep_budget
