"""Inception-ResNet-v2, as released in TF-slim, and the paper's own (arXiv:1602.07261, figure 15).

The released network is not the printed one: its stem is that of v1 followed by an Inception block,
it has 10, 20 and 10 residual blocks where figure 15 has 5, 10 and 5, its last block has scale 1 and
no ReLU, and a 1 x 1 convolution to 1536 channels stands before the pooling.  The authors have said
that the released one is meant; `inception_resnet_v2_paper` is the printed one, with the widths that
its concatenations really give (1152 and 2144, where the figures print 1154 and 2048).
"""

from minincep.models import inception_v4
from minincep.models.figures import classifier, inception_resnet_stem, reduction_a
from minincep.nn.combinators import (
    Branch,
    Definition,
    avg_pool,
    concat,
    conv,
    dense,
    flatten,
    max_pool,
    named,
    repeat,
    residual,
    side,
)


def mixed_5b() -> Definition:
    """An Inception block after the stem (released code only): 35 x 35 x 192 -> 35 x 35 x 320."""
    return concat(
        [conv("1x1", 96)],
        [conv("0a_1x1", 48), conv("0b_5x5", 64)],
        [conv("0a_1x1", 64), conv("0b_3x3", 96), conv("0c_3x3", 96)],
        [avg_pool(3), conv("0b_1x1", 64)],
    )


def block35() -> Definition:
    """Figure 16, Inception-ResNet-A: 35 x 35."""
    return residual(
        [conv("1x1", 32)],
        [conv("0a_1x1", 32), conv("0b_3x3", 32)],
        [conv("0a_1x1", 32), conv("0b_3x3", 48), conv("0c_3x3", 64)],
        scale=0.17,
    )


def block17() -> Definition:
    """Figure 17, Inception-ResNet-B: 17 x 17."""
    return residual(
        [conv("1x1", 192)],
        [conv("0a_1x1", 128), conv("0b_1x7", 160), conv("0c_7x1", 192)],
        scale=0.10,
    )


def block8(scale: float = 0.20, relu: bool = True) -> Definition:
    """Figure 19, Inception-ResNet-C: 8 x 8."""
    return residual(
        [conv("1x1", 192)],
        [conv("0a_1x1", 192), conv("0b_1x3", 224), conv("0c_3x1", 256)],
        scale=scale,
        relu=relu,
    )


def reduction_b() -> Definition:
    """Figure 18: 17 x 17 -> 8 x 8."""
    return concat(
        [conv("0a_1x1", 256), conv("1a_3x3", 384, stride=2, padding="valid")],
        [conv("0a_1x1", 256), conv("1a_3x3", 288, stride=2, padding="valid")],
        [
            conv("0a_1x1", 256),
            conv("0b_3x3", 288),
            conv("1a_3x3", 320, stride=2, padding="valid"),
        ],
        [max_pool(3, stride=2)],
    )


def auxiliary_head(num_classes: int) -> Definition:
    """A second classifier half-way, for training; fits pictures of 299 to 346 pixels only.

    It runs only when its end point is wanted, in training too; see `Network.run_endpoints`.
    """
    return side(
        "AuxLogits",
        avg_pool(5, stride=3, padding="valid"),
        conv("1b_1x1", 128),
        conv("2a_5x5", 768, padding="valid"),
        flatten(),
        dense("Logits", num_classes),
        scope="aux_logits",
    )


def inception_resnet_v2(
    *,
    num_classes: int = 1000,
    aux_logits: bool = False,
    dropout_rate: float = 0.2,
    blocks: tuple[int, int, int] = (10, 20, 9),
) -> Branch:
    """As released: images (N, H, W, 3) -> logits (N, classes).

    Parameters
    ----------
    blocks
        Numbers of block35, block17 and block8; one more block8, without ReLU, always follows.
    """
    return [
        *inception_resnet_stem(),
        max_pool(3, stride=2, name="MaxPool_5a_3x3"),
        named("Mixed_5b", mixed_5b()),
        repeat("Repeat", named("block35", block35()), blocks[0]),
        named("Mixed_6a", reduction_a(256, 256, 384, 384)),
        repeat("Repeat_1", named("block17", block17()), blocks[1]),
        side("PreAuxLogits"),
        *([auxiliary_head(num_classes)] if aux_logits else []),
        named("Mixed_7a", reduction_b()),
        repeat("Repeat_2", named("block8", block8()), blocks[2]),
        named("Block8", block8(scale=1.0, relu=False)),
        conv("7b_1x1", 1536),
        *classifier(num_classes, dropout_rate),
    ]


def inception_resnet_v2_paper(
    *,
    num_classes: int = 1000,
    dropout_rate: float = 0.2,
    blocks: tuple[int, int, int] = (5, 10, 5),
) -> Branch:
    """As printed, figure 15: images (N, H, W, 3) -> logits (N, classes).

    The paper gives the residual scale only as "between 0.1 and 0.3"; the released values are used.
    """
    return [
        *inception_v4.stem(),
        repeat("Repeat", named("block35", block35()), blocks[0]),
        named("Mixed_6a", reduction_a(256, 256, 384, 384)),
        repeat("Repeat_1", named("block17", block17()), blocks[1]),
        named("Mixed_7a", reduction_b()),
        repeat("Repeat_2", named("block8", block8()), blocks[2]),
        *classifier(num_classes, dropout_rate),
    ]
