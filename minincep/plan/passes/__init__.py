"""The passes: rewrites of a graph that leave its outputs what they are.

One file each, all alike: `apply(graph)` changes the graph in place and gives it back.  Each stands
for itself, and can be left out; the order below lets each find what it looks for.
"""

from collections.abc import Callable

from minincep.plan.graph import Graph
from minincep.plan.passes import (
    concat_in_place,
    dense_as_convolution,
    fold_batch_norm,
    fuse_epilogue,
    join_projections,
    project_before_pooling,
)

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    dense_as_convolution.apply,
    fold_batch_norm.apply,
    fuse_epilogue.apply,
    project_before_pooling.apply,
    concat_in_place.apply,
    join_projections.apply,
)


def apply_all(graph: Graph) -> Graph:
    """All passes in order; the graph is changed in place."""
    for apply in PASSES:
        graph = apply(graph)
    return graph
