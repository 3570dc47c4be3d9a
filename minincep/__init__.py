"""Inception-v4, Inception-ResNet-v1 and Inception-ResNet-v2 in NumPy and Numba.

    import minincep as mi
    net = mi.create_model("inception_resnet_v2", num_classes=1000, seed=0)

Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minincep import train as train
    from minincep.autograd import Tensor as Tensor
    from minincep.autograd import gradcheck as gradcheck
    from minincep.autograd import no_grad as no_grad
    from minincep.autograd import ops as ops
    from minincep.io.convert import convert as convert
    from minincep.io.errors import ImageError as ImageError
    from minincep.io.errors import WeightError as WeightError
    from minincep.io.hdf5 import load as load
    from minincep.io.hdf5 import save as save
    from minincep.models import create_model as create_model
    from minincep.models import list_models as list_models
    from minincep.plan.plan import Plan as Plan
    from minincep.plan.plan import compile as compile  # noqa: A004
    from minincep.predict import classify as classify
    from minincep.predict import embed as embed
    from minincep.predict import features as features
    from minincep_kernels.errors import ConfigError as ConfigError
    from minincep_kernels.errors import DTypeError as DTypeError
    from minincep_kernels.errors import PlanError as PlanError
    from minincep_kernels.errors import ShapeError as ShapeError
    from minincep_kernels.errors import UserError as UserError
    from minincep_kernels.errors import VariantError as VariantError
    from minincep_kernels.machine import get_num_threads as get_num_threads
    from minincep_kernels.machine import num_threads as num_threads
    from minincep_kernels.machine import set_num_threads as set_num_threads

__version__ = "0.1.0"

_MODULES = {"ops": "minincep.autograd.ops", "train": "minincep.train"}

_HOMES = {
    "ConfigError": "minincep_kernels.errors",
    "DTypeError": "minincep_kernels.errors",
    "ImageError": "minincep.io.errors",
    "Plan": "minincep.plan.plan",
    "PlanError": "minincep_kernels.errors",
    "ShapeError": "minincep_kernels.errors",
    "Tensor": "minincep.autograd",
    "UserError": "minincep_kernels.errors",
    "VariantError": "minincep_kernels.errors",
    "WeightError": "minincep.io.errors",
    "classify": "minincep.predict",
    "compile": "minincep.plan.plan",
    "convert": "minincep.io.convert",
    "create_model": "minincep.models",
    "embed": "minincep.predict",
    "features": "minincep.predict",
    "get_num_threads": "minincep_kernels.machine",
    "gradcheck": "minincep.autograd",
    "list_models": "minincep.models",
    "load": "minincep.io.hdf5",
    "no_grad": "minincep.autograd",
    "num_threads": "minincep_kernels.machine",
    "save": "minincep.io.hdf5",
    "set_num_threads": "minincep_kernels.machine",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'minincep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_HOMES, *_MODULES, "__version__"])
