"""Dropout."""

from typing import Any

from minincep.autograd.op import op
from minincep_kernels import Array
from minincep_kernels.errors import ShapeError


@op
def dropout(x: Array, keep: Array, *, rate: float) -> tuple[Array, Any]:
    """X / (1 - rate) where `keep`, else 0: any shape -> same shape.

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
    """
    if keep.shape != x.shape:
        raise ShapeError(f"dropout: x {x.shape} needs a mask of its shape, got {keep.shape}")
    factor = keep.astype(x.dtype) / x.dtype.type(1 - rate)
    return x * factor, (factor,)


@dropout.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...], **_: Any) -> tuple[Array | None, ...]:
    (factor,) = residuals
    return gy * factor, None
