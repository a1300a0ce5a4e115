"""Names that the package loads when they are asked for; its modules have types of their own."""

from .light import sleep_budget as sleep_budget
from .node import Node as Node
