"""The networks, one file each, and the list of them."""

from minincep.models.network import Network as Network
from minincep.models.registry import create_model as create_model
from minincep.models.registry import list_models as list_models
