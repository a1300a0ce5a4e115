"""Types of config.py."""

from typing import Any, TypeVar, overload

from ..client import Client
from ..net.clock import Clock
from ..net.wifi import Wifi
from ..sleep.node import _Network
from ..store import Store
from .ota import Ota

_Ota = TypeVar("_Ota", bound=Ota)

def load(name: str = "config.json") -> dict[str, Any]: ...
def make_store(config: dict[str, Any]) -> Store: ...
def make_client(config: dict[str, Any], **options: Any) -> Client: ...
@overload
def make_wifi(
    config: dict[str, Any], store: Store | None = None, network: None = None
) -> Wifi | Clock | None: ...
@overload
def make_wifi(config: dict[str, Any], store: Store | None, network: _Network) -> _Network: ...
@overload
def make_ota(config: dict[str, Any], kind: None = None) -> Ota | None: ...
@overload
def make_ota(config: dict[str, Any], kind: type[_Ota]) -> _Ota | None: ...
