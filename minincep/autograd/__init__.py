"""The engine: tensors, the tape, ops and their gradients."""

from minincep.autograd.gradcheck import GradientError as GradientError
from minincep.autograd.gradcheck import gradcheck as gradcheck
from minincep.autograd.op import Op as Op
from minincep.autograd.op import no_grad as no_grad
from minincep.autograd.op import op as op
from minincep.autograd.tensor import Node as Node
from minincep.autograd.tensor import Tensor as Tensor
