"""Figures of the paper that more than one network shares.

Szegedy, Ioffe, Vanhoucke and Alemi 2016, "Inception-v4, Inception-ResNet and the impact of
residual connections on learning", arXiv:1602.07261.  Where the figures and the released weights
(TF-slim, facenet) differ, the released code is followed.
"""

from minincep.nn.combinators import (
    Branch,
    Definition,
    concat,
    conv,
    dense,
    dropout,
    flatten,
    global_avg_pool,
    max_pool,
    side,
    softmax,
)


def inception_resnet_stem() -> Branch:
    """Figure 14 without its last convolution: 299 x 299 x 3 -> 71 x 71 x 192."""
    return [
        conv("1a_3x3", 32, stride=2, padding="valid"),
        conv("2a_3x3", 32, padding="valid"),
        conv("2b_3x3", 64),
        max_pool(3, stride=2, name="MaxPool_3a_3x3"),
        conv("3b_1x1", 80, padding="valid"),
        conv("4a_3x3", 192, padding="valid"),
    ]


def reduction_a(k: int, l: int, m: int, n: int) -> Definition:  # noqa: E741  (the figure's letters)
    """Figure 7, with the widths of table 1: 35 x 35 -> 17 x 17."""
    return concat(
        [conv("1a_3x3", n, stride=2, padding="valid")],
        [
            conv("0a_1x1", k),
            conv("0b_3x3", l),
            conv("1a_3x3", m, stride=2, padding="valid"),
        ],
        [max_pool(3, stride=2)],
    )


def classifier(num_classes: int, dropout_rate: float) -> Branch:
    """The end of figures 9 and 15: the last map -> logits, with probabilities beside."""
    return [
        global_avg_pool(),
        dropout(dropout_rate),
        flatten("PreLogitsFlatten"),
        dense("Logits", num_classes),
        side("Predictions", softmax("")),
    ]
