"""Dropout."""

from typing import Any

from minincep.autograd.op import op
from minincep_kernels import Array
from minincep_kernels.errors import ConfigError, ShapeError


@op(keep=bool)
def dropout(x: Array, keep: Array, *, rate: float) -> tuple[Array, Any]:
    """x / (1 - rate) where `keep`, else 0: any shape -> same shape.

    Srivastava et al. 2014, "Dropout", scaled in training so that nothing is left to do afterwards.

    Parameters
    ----------
    keep
        Array of bool, True with probability 1 - rate.  It comes from the layer, so that the op
        gives the same result at each call.

    Raises
    ------
    ShapeError
        If `keep` has another shape than x.
    ConfigError
        If `rate` is not from 0 to below 1.
    """
    if keep.shape != x.shape:
        raise ShapeError(f"dropout: x {x.shape} needs a mask of its shape, got {keep.shape}")
    if not 0 <= rate < 1:
        raise ConfigError(f"dropout: rate must be from 0 to below 1, got {rate}")
    factor = keep.astype(x.dtype) / x.dtype.type(1 - rate)
    return x * factor, (factor,)


@dropout.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    (factor,) = residuals
    return gy * factor, None
