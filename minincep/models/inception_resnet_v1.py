"""Inception-ResNet-v1, as released in facenet, and the paper's own (arXiv:1602.07261, figure 15).

facenet's network embeds faces: a sixth block8 without ReLU, then a bottleneck of 128 or 512
numbers, scaled to length 1.  While it is trained, a classifier reads the bottleneck before the
scaling.  The printed network, `inception_resnet_v1_paper`, has five blocks and a classifier like
the others.
"""

from minincep.models.figures import classifier, inception_resnet_stem, reduction_a
from minincep.nn.combinators import (
    Branch,
    Definition,
    bottleneck,
    concat,
    conv,
    dense,
    dropout,
    flatten,
    global_avg_pool,
    l2_normalize,
    max_pool,
    named,
    repeat,
    residual,
    side,
    softmax,
)


def stem() -> Branch:
    """Figure 14: 299 x 299 x 3 -> 35 x 35 x 256."""
    return [*inception_resnet_stem(), conv("4b_3x3", 256, stride=2, padding="valid")]


def block35() -> Definition:
    """Figure 10, Inception-ResNet-A: 35 x 35 x 256."""
    return residual(
        [conv("1x1", 32)],
        [conv("0a_1x1", 32), conv("0b_3x3", 32)],
        [conv("0a_1x1", 32), conv("0b_3x3", 32), conv("0c_3x3", 32)],
        scale=0.17,
    )


def block17() -> Definition:
    """Figure 11, Inception-ResNet-B: 17 x 17 x 896."""
    return residual(
        [conv("1x1", 128)],
        [conv("0a_1x1", 128), conv("0b_1x7", 128), conv("0c_7x1", 128)],
        scale=0.10,
    )


def block8(scale: float = 0.20, relu: bool = True) -> Definition:
    """Figure 13, Inception-ResNet-C: 8 x 8 x 1792."""
    return residual(
        [conv("1x1", 192)],
        [conv("0a_1x1", 192), conv("0b_1x3", 192), conv("0c_3x1", 192)],
        scale=scale,
        relu=relu,
    )


def reduction_b() -> Definition:
    """Figure 12: 17 x 17 x 896 -> 8 x 8 x 1792."""
    return concat(
        [conv("0a_1x1", 256), conv("1a_3x3", 384, stride=2, padding="valid")],
        [conv("0a_1x1", 256), conv("1a_3x3", 256, stride=2, padding="valid")],
        [
            conv("0a_1x1", 256),
            conv("0b_3x3", 256),
            conv("1a_3x3", 256, stride=2, padding="valid"),
        ],
        [max_pool(3, stride=2)],
    )


def body(blocks: tuple[int, int, int]) -> Branch:
    """Figure 15 from the input to the last repeated block."""
    return [
        *stem(),
        repeat("Repeat", named("block35", block35()), blocks[0]),
        side("Mixed_5a"),
        named("Mixed_6a", reduction_a(192, 192, 256, 384)),
        repeat("Repeat_1", named("block17", block17()), blocks[1]),
        side("Mixed_6b"),
        named("Mixed_7a", reduction_b()),
        repeat("Repeat_2", named("block8", block8()), blocks[2]),
        side("Mixed_8a"),
    ]


def inception_resnet_v1(
    *,
    embedding_size: int = 512,
    num_classes: int | None = None,
    dropout_rate: float = 0.2,
    blocks: tuple[int, int, int] = (5, 10, 5),
) -> Branch:
    """facenet's: images (N, H, W, 3) -> embeddings of length 1, or logits if there are classes.

    Parameters
    ----------
    num_classes
        With a number, the result is logits (N, classes), and embeddings are the end point
        `Embeddings`; with None, the result is embeddings (N, embedding size).
    blocks
        Numbers of block35, block17 and block8; one more block8, without ReLU, always follows.
    """
    if num_classes is None:
        head = [l2_normalize("Embeddings")]
    else:
        head = [
            side("Embeddings", l2_normalize("")),
            dense("Logits", num_classes),
            side("Predictions", softmax("")),
        ]
    return [
        *body(blocks),
        named("Block8", block8(scale=1.0, relu=False)),
        side("Mixed_8b"),
        global_avg_pool(),
        dropout(dropout_rate),
        flatten("PreLogitsFlatten"),
        bottleneck("Bottleneck", embedding_size),
        *head,
    ]


def inception_resnet_v1_paper(
    *,
    num_classes: int = 1000,
    dropout_rate: float = 0.2,
    blocks: tuple[int, int, int] = (5, 10, 5),
) -> Branch:
    """As printed, figure 15: images (N, H, W, 3) -> logits (N, classes)."""
    return [
        *body(blocks),
        *classifier(num_classes, dropout_rate),
    ]
