"""Training: data, losses, optimisers, schedules, checkpoints, and the loop that joins them.

    from minincep import train

    data, validation = train.read_split("pictures", share=0.2, seed=0)

`docs/training.md` has the loop in 20 lines, and the same with a `Trainer`.  Nothing heavy is
imported before it is used.  A function that is called as its file is not here: it is in the file,
`from minincep.train.freeze import freeze`; so are `split` and `evaluate`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minincep.train.augment import Augmentation as Augmentation
    from minincep.train.average import MovingAverage as MovingAverage
    from minincep.train.data import DataSet as DataSet
    from minincep.train.data import Example as Example
    from minincep.train.data import from_csv as from_csv
    from minincep.train.data import image_folder as image_folder
    from minincep.train.data import read as read
    from minincep.train.evaluate import Report as Report
    from minincep.train.freeze import freeze_batch_norm as freeze_batch_norm
    from minincep.train.freeze import unfreeze as unfreeze
    from minincep.train.loader import Batch as Batch
    from minincep.train.loader import Loader as Loader
    from minincep.train.losses import CentreLoss as CentreLoss
    from minincep.train.losses import classification_loss as classification_loss
    from minincep.train.losses import triplet_loss as triplet_loss
    from minincep.train.optim import SGD as SGD
    from minincep.train.optim import Adam as Adam
    from minincep.train.optim import AdamW as AdamW
    from minincep.train.optim import Group as Group
    from minincep.train.optim import Optimizer as Optimizer
    from minincep.train.optim import RMSProp as RMSProp
    from minincep.train.optim import clip_by_norm as clip_by_norm
    from minincep.train.optim import clip_by_value as clip_by_value
    from minincep.train.schedule import Constant as Constant
    from minincep.train.schedule import Cosine as Cosine
    from minincep.train.schedule import Exponential as Exponential
    from minincep.train.schedule import Step as Step
    from minincep.train.settings import Settings as Settings
    from minincep.train.split import read_split as read_split
    from minincep.train.trainer import Trainer as Trainer

_HOMES = {
    "Adam": "optim",
    "AdamW": "optim",
    "Augmentation": "augment",
    "Batch": "loader",
    "CentreLoss": "losses",
    "Constant": "schedule",
    "Cosine": "schedule",
    "DataSet": "data",
    "Example": "data",
    "Exponential": "schedule",
    "Group": "optim",
    "Loader": "loader",
    "MovingAverage": "average",
    "Optimizer": "optim",
    "RMSProp": "optim",
    "Report": "evaluate",
    "SGD": "optim",
    "Settings": "settings",
    "Step": "schedule",
    "Trainer": "trainer",
    "classification_loss": "losses",
    "clip_by_norm": "optim",
    "clip_by_value": "optim",
    "freeze_batch_norm": "freeze",
    "from_csv": "data",
    "image_folder": "data",
    "read": "data",
    "read_split": "split",
    "triplet_loss": "losses",
    "unfreeze": "freeze",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"minincep.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'minincep.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
