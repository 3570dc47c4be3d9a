"""Which weights stay as they are: fine-tuning trains the head first, then more.

    freeze(network, ["*"])                      # everything ...
    unfreeze(network, ["logits"])               # ... but the last layer

A frozen weight gets no gradient, and backward passes through nothing before the first layer that
is trained.  An optimiser takes the weights that are trained when it is made: make a new one after
freezing or unfreezing.
"""

from collections.abc import Sequence

from minincep.nn.layers import BatchNorm
from minincep.nn.module import Module
from minincep.train.patterns import matching


def freeze(network: Module, patterns: Sequence[str], *, batch_norm: bool = True) -> list[str]:
    """Leave weights as they are: those whose path matches a pattern (`train.patterns`).

    Parameters
    ----------
    batch_norm
        Freeze batch norm too where all its weights are frozen: it uses its running statistics, and
        leaves them alone.  Else its statistics go on following the batches.

    Returns
    -------
    list of str
        Paths of the weights that the patterns match.

    Raises
    ------
    ConfigError
        If a pattern matches no weight; nothing is frozen then.
    """
    return _set(network, patterns, frozen=True, batch_norm=batch_norm)


def unfreeze(network: Module, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Train weights again, by default all, and the batch norm that they belong to.

    Returns
    -------
    list of str
        Paths of the weights that the patterns match.

    Raises
    ------
    ConfigError
        If a pattern matches no weight; nothing is changed then.
    """
    return _set(network, patterns, frozen=False, batch_norm=True)


def freeze_batch_norm(network: Module) -> list[str]:
    """Let all batch norm use its running statistics, and leave them alone: for small batches.

    Its beta and gamma are trained as before; ``freeze(network, ["*/batch_norm"])`` stops them too.

    Returns
    -------
    list of str
        Paths of the batch norms.
    """
    found = []
    for path, module in network.modules():
        if isinstance(module, BatchNorm):
            module.frozen = True
            found.append(path)
    return found


def _set(network: Module, patterns: Sequence[str], *, frozen: bool, batch_norm: bool) -> list[str]:
    parameters = network.parameters()
    meant = {path for pattern in patterns for path in matching(pattern, parameters)}
    for path in meant:
        parameters[path].requires_grad = not frozen
        parameters[path].grad = None
    for path, module in network.modules():
        if isinstance(module, BatchNorm) and batch_norm:
            inside = {f"{path}/{name}" if path else name for name in module.parameters()}
            if inside & meant and (
                not frozen or not any(parameters[p].requires_grad for p in inside)
            ):
                module.frozen = frozen
    return [path for path in parameters if path in meant]
