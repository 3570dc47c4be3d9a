"""Inception-v4, as released in TF-slim (figure 9 of arXiv:1602.07261).

Where the released weights differ from the printed figures: figure 5's middle branch is 1x7 then
7x1 and its long branch 7x1, 1x7, 7x1, 1x7; the 192 filters at the end of figure 3 have stride 2.
"""

from minincep.models.figures import classifier, reduction_a
from minincep.nn.combinators import (
    Branch,
    Definition,
    avg_pool,
    concat,
    conv,
    dense,
    flatten,
    fork,
    max_pool,
    named,
    side,
)


def stem() -> Branch:
    """Figure 3: 299 x 299 x 3 -> 35 x 35 x 384."""
    return [
        conv("1a_3x3", 32, stride=2, padding="valid"),
        conv("2a_3x3", 32, padding="valid"),
        conv("2b_3x3", 64),
        named(
            "Mixed_3a",
            concat(
                [max_pool(3, stride=2)],
                [conv("0a_3x3", 96, stride=2, padding="valid")],
            ),
        ),
        named(
            "Mixed_4a",
            concat(
                [conv("0a_1x1", 64), conv("1a_3x3", 96, padding="valid")],
                [
                    conv("0a_1x1", 64),
                    conv("0b_1x7", 64),
                    conv("0c_7x1", 64),
                    conv("1a_3x3", 96, padding="valid"),
                ],
            ),
        ),
        named(
            "Mixed_5a",
            concat(
                [conv("1a_3x3", 192, stride=2, padding="valid")],
                [max_pool(3, stride=2)],
            ),
        ),
    ]


def inception_a() -> Definition:
    """Figure 4: 35 x 35 x 384."""
    return concat(
        [conv("0a_1x1", 96)],
        [conv("0a_1x1", 64), conv("0b_3x3", 96)],
        [conv("0a_1x1", 64), conv("0b_3x3", 96), conv("0c_3x3", 96)],
        [avg_pool(3), conv("0b_1x1", 96)],
    )


def inception_b() -> Definition:
    """Figure 5: 17 x 17 x 1024."""
    return concat(
        [conv("0a_1x1", 384)],
        [conv("0a_1x1", 192), conv("0b_1x7", 224), conv("0c_7x1", 256)],
        [
            conv("0a_1x1", 192),
            conv("0b_7x1", 192),
            conv("0c_1x7", 224),
            conv("0d_7x1", 224),
            conv("0e_1x7", 256),
        ],
        [avg_pool(3), conv("0b_1x1", 128)],
    )


def inception_c() -> Definition:
    """Figure 6: 8 x 8 x 1536."""
    return concat(
        [conv("0a_1x1", 256)],
        [conv("0a_1x1", 384), fork(conv("0b_1x3", 256), conv("0c_3x1", 256))],
        [
            conv("0a_1x1", 384),
            conv("0b_3x1", 448),
            conv("0c_1x3", 512),
            fork(conv("0d_1x3", 256), conv("0e_3x1", 256)),
        ],
        [avg_pool(3), conv("0b_1x1", 256)],
    )


def reduction_b() -> Definition:
    """Figure 8: 17 x 17 x 1024 -> 8 x 8 x 1536."""
    return concat(
        [conv("0a_1x1", 192), conv("1a_3x3", 192, stride=2, padding="valid")],
        [
            conv("0a_1x1", 256),
            conv("0b_1x7", 256),
            conv("0c_7x1", 320),
            conv("1a_3x3", 320, stride=2, padding="valid"),
        ],
        [max_pool(3, stride=2)],
    )


def auxiliary_head(num_classes: int) -> Definition:
    """A second classifier half-way, for training: 17 x 17 -> classes.

    Its 5 x 5 convolution covers the whole map that the pooling leaves, so it fits pictures of 299
    to 346 pixels and no others.

    It runs only when its end point is wanted, in training too; see `Network.run_endpoints`.
    """
    return side(
        "AuxLogits",
        avg_pool(5, stride=3, padding="valid"),
        conv("1b_1x1", 128),
        conv("2a", 768, kernel_size=(5, 5), padding="valid"),
        flatten(),
        dense("Aux_logits", num_classes),
        scope="aux_logits",
    )


def numbered(stage: str, block: Definition, count: int) -> Branch:
    """A block `count` times, lettered from b: Mixed_5b, Mixed_5c, ..."""
    return [named(f"{stage}{chr(ord('b') + index)}", block) for index in range(count)]


def inception_v4(
    *,
    num_classes: int = 1000,
    aux_logits: bool = False,
    dropout_rate: float = 0.2,
    blocks: tuple[int, int, int] = (4, 7, 3),
) -> Branch:
    """Figure 9: images (N, H, W, 3) -> logits (N, classes).

    Parameters
    ----------
    blocks
        Numbers of Inception-A, -B and -C blocks.
    """
    return [
        *stem(),
        *numbered("Mixed_5", inception_a(), blocks[0]),
        named("Mixed_6a", reduction_a(192, 224, 256, 384)),
        *numbered("Mixed_6", inception_b(), blocks[1]),
        *([auxiliary_head(num_classes)] if aux_logits else []),
        named("Mixed_7a", reduction_b()),
        *numbered("Mixed_7", inception_c(), blocks[2]),
        *classifier(num_classes, dropout_rate),
    ]
