"""The networks, one file each, and the list of them; imported when they are used."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minincep.models.network import Network as Network
    from minincep.models.registry import create_model as create_model
    from minincep.models.registry import list_models as list_models

_HOMES = {"Network": "network", "create_model": "registry", "list_models": "registry"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"minincep.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'minincep.models' has no attribute {name!r}")
