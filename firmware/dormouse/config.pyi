"""Types of config.py."""

from typing import Any, overload

from .client import Client
from .clock import Clock
from .ota import Ota
from .sleep import _Network
from .store import Store
from .wifi import Wifi

def load(name: str = "config.json") -> dict[str, Any]: ...
def make_store(config: dict[str, Any]) -> Store: ...
def make_client(config: dict[str, Any], **options: Any) -> Client: ...
@overload
def make_wifi(
    config: dict[str, Any], store: Store | None = None, network: None = None
) -> Wifi | Clock | None: ...
@overload
def make_wifi(config: dict[str, Any], store: Store | None, network: _Network) -> _Network: ...
def make_ota(config: dict[str, Any]) -> Ota | None: ...
