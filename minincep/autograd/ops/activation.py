"""Non-linearities."""

from typing import Any

from minincep.autograd.op import op
from minincep_kernels import Array, elementwise


@op
def relu(x: Array) -> tuple[Array, Any]:
    """max(x, 0): any shape -> same shape.  The gradient at 0 is 0."""
    y = elementwise.relu(x)
    return y, (y,)


@relu.vjp
def _(residuals: Any, gy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
    (y,) = residuals
    return (elementwise.relu_gradient(y, gy),)
