from collections.abc import Mapping
from typing import Any

def explain(error: Exception, host: object, options: Mapping[str, Any]) -> Exception: ...
