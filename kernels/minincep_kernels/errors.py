"""The mistakes a caller can make, each with a name of its own.

All are `UserError`, so that the command line can tell them from mistakes of ours: it prints the
message of the first kind, and a traceback of the second.
"""


class UserError(Exception):
    """Something that the caller can put right; the message says what, where and how."""


class ShapeError(UserError, ValueError):
    """An array has a shape that the operation cannot take."""


class DTypeError(UserError, TypeError):
    """An array has a type of number that the operation does not take."""


class VariantError(UserError, ValueError):
    """A kernel variant was asked for that does not exist, or that fits no layer."""


class ConfigError(UserError, ValueError):
    """A network, an end point or an option was asked for that does not exist or is out of range."""


class PlanError(UserError, ValueError):
    """A network cannot become a plan as it stands."""
