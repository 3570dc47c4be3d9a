"""What can be wrong with a file, each with a name of its own."""

from minincep_kernels.errors import UserError


class WeightError(UserError, ValueError):
    """A weights file is missing, damaged, or not what the network needs."""


class ImageError(UserError, ValueError):
    """A picture is missing, damaged, or of a kind that cannot be read."""


class ResultError(UserError, ValueError):
    """A file of results is there already, or is of another run."""
