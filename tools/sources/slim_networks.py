"""The three networks in TensorFlow, with the scopes of the released checkpoints.

Written from the papers and from the published names and shapes of the variables, with the layers of
`tf_slim`, which are those that the released networks were trained with.  It shares no code with
minincep.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_ops

if not hasattr(ops, "Tensor"):  # where tf_slim, which is older than this TensorFlow, looks for them
    ops.Tensor = tf.Tensor
    control_flow_ops.cond = tf.compat.v1.cond

import tf_slim as slim

v1 = tf.compat.v1
Tensor = Any
Branch = Sequence[tuple[str, int] | tuple[str, int, int]]  # scope, filters, stride if it has one

KERNEL = re.compile(r"_(\d)x(\d)$")


def arguments(training: object, decay: float, collections: object = None) -> Any:
    """slim's settings for these networks; a decay of 0 makes the statistics those of one batch."""
    norm = {"is_training": training, "decay": decay, "epsilon": 0.001, "updates_collections": None}
    if collections is not None:
        norm["variables_collections"] = collections
    return slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        activation_fn=tf.nn.relu,
        normalizer_fn=slim.batch_norm,
        normalizer_params=norm,
    )


def conv(
    x: Tensor, filters: int, scope: str, stride: int = 1, *, padding: str = "", **more: Any
) -> Tensor:
    """A convolution; its scope says its kernel.  With a stride, only where the kernel fits."""
    found = KERNEL.search(scope)
    assert found is not None
    kernel = [int(found[1]), int(found[2])]
    padding = padding or ("VALID" if stride > 1 else "SAME")
    return slim.conv2d(x, filters, kernel, stride=stride, padding=padding, scope=scope, **more)


def pool(x: Tensor) -> Tensor:
    """Largest of 3 x 3, every other position."""
    return slim.max_pool2d(x, 3, stride=2, padding="VALID")


def averaged(x: Tensor) -> Tensor:
    """Mean of 3 x 3."""
    return slim.avg_pool2d(x, 3, stride=1, padding="SAME")


def branches(x: Tensor, *paths: Branch, pooled: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Branches beside each other; the last one, if there is `pooled`, begins with it."""
    ends = []
    for number, path in enumerate(paths):
        y = pooled(x) if pooled is not None and number == len(paths) - 1 else x
        with v1.variable_scope(f"Branch_{number}"):
            for scope, filters, stride in ((*unit, 1)[:3] for unit in path):
                y = conv(y, filters, scope, stride)
        ends.append(y)
    return tf.concat(ends, 3)


def residual(x: Tensor, scale: float, *paths: Branch, relu: bool = True) -> Tensor:
    """Branches, widened to the channels that came in, scaled, and added to them."""
    y = branches(x, *paths)
    y = conv(y, int(x.shape[3]), "Conv2d_1x1", normalizer_fn=None, activation_fn=None)
    x = x + scale * y
    return tf.nn.relu(x) if relu else x


def head(x: Tensor, classes: int) -> Tensor:
    """Mean of all positions, then the classifier."""
    x = tf.reduce_mean(x, [1, 2])
    return slim.fully_connected(x, classes, activation_fn=None, normalizer_fn=None, scope="Logits")


def auxiliary(x: Tensor, classes: int, second: str, last: str) -> Tensor:
    """The classifier on the way."""
    x = slim.avg_pool2d(x, 5, stride=3, padding="VALID")
    x = conv(x, 128, "Conv2d_1b_1x1")
    x = slim.conv2d(x, 768, x.shape.as_list()[1:3], padding="VALID", scope=second)
    return slim.fully_connected(
        slim.flatten(x), classes, activation_fn=None, normalizer_fn=None, scope=last
    )


def inception_v4(x: Tensor, classes: int, aux: bool) -> tuple[Tensor, Tensor]:
    """Inception-v4: logits and, if asked for, auxiliary logits."""
    auxiliaries = None
    with v1.variable_scope("InceptionV4"):
        x = conv(x, 32, "Conv2d_1a_3x3", 2)
        x = conv(x, 32, "Conv2d_2a_3x3", padding="VALID")
        x = conv(x, 64, "Conv2d_2b_3x3")
        with v1.variable_scope("Mixed_3a"):
            with v1.variable_scope("Branch_1"):
                y = conv(x, 96, "Conv2d_0a_3x3", 2)
            x = tf.concat([pool(x), y], 3)
        with v1.variable_scope("Mixed_4a"):
            with v1.variable_scope("Branch_0"):
                y = conv(x, 64, "Conv2d_0a_1x1")
                y = conv(y, 96, "Conv2d_1a_3x3", padding="VALID")
            with v1.variable_scope("Branch_1"):
                z = conv(x, 64, "Conv2d_0a_1x1")
                z = conv(z, 64, "Conv2d_0b_1x7")
                z = conv(z, 64, "Conv2d_0c_7x1")
                z = conv(z, 96, "Conv2d_1a_3x3", padding="VALID")
            x = tf.concat([y, z], 3)
        with v1.variable_scope("Mixed_5a"):
            with v1.variable_scope("Branch_0"):
                y = conv(x, 192, "Conv2d_1a_3x3", 2)
            x = tf.concat([y, pool(x)], 3)
        for letter in "bcde":
            with v1.variable_scope(f"Mixed_5{letter}"):
                x = branches(
                    x,
                    [("Conv2d_0a_1x1", 96)],
                    [("Conv2d_0a_1x1", 64), ("Conv2d_0b_3x3", 96)],
                    [("Conv2d_0a_1x1", 64), ("Conv2d_0b_3x3", 96), ("Conv2d_0c_3x3", 96)],
                    [("Conv2d_0b_1x1", 96)],
                    pooled=averaged,
                )
        with v1.variable_scope("Mixed_6a"):
            y = branches(
                x,
                [("Conv2d_1a_3x3", 384, 2)],
                [("Conv2d_0a_1x1", 192), ("Conv2d_0b_3x3", 224), ("Conv2d_1a_3x3", 256, 2)],
            )
            x = tf.concat([y, pool(x)], 3)
        for letter in "bcdefgh":
            with v1.variable_scope(f"Mixed_6{letter}"):
                x = branches(
                    x,
                    [("Conv2d_0a_1x1", 384)],
                    [("Conv2d_0a_1x1", 192), ("Conv2d_0b_1x7", 224), ("Conv2d_0c_7x1", 256)],
                    [
                        ("Conv2d_0a_1x1", 192),
                        ("Conv2d_0b_7x1", 192),
                        ("Conv2d_0c_1x7", 224),
                        ("Conv2d_0d_7x1", 224),
                        ("Conv2d_0e_1x7", 256),
                    ],
                    [("Conv2d_0b_1x1", 128)],
                    pooled=averaged,
                )
        if aux:
            with v1.variable_scope("AuxLogits"):
                auxiliaries = auxiliary(x, classes, "Conv2d_2a", "Aux_logits")
        with v1.variable_scope("Mixed_7a"):
            y = branches(
                x,
                [("Conv2d_0a_1x1", 192), ("Conv2d_1a_3x3", 192, 2)],
                [
                    ("Conv2d_0a_1x1", 256),
                    ("Conv2d_0b_1x7", 256),
                    ("Conv2d_0c_7x1", 320),
                    ("Conv2d_1a_3x3", 320, 2),
                ],
            )
            x = tf.concat([y, pool(x)], 3)
        for letter in "bcd":
            with v1.variable_scope(f"Mixed_7{letter}"):
                x = _inception_c(x)
        with v1.variable_scope("Logits"):
            return head(x, classes), auxiliaries


def _inception_c(x: Tensor) -> Tensor:
    with v1.variable_scope("Branch_0"):
        a = conv(x, 256, "Conv2d_0a_1x1")
    with v1.variable_scope("Branch_1"):
        y = conv(x, 384, "Conv2d_0a_1x1")
        b = tf.concat([conv(y, 256, "Conv2d_0b_1x3"), conv(y, 256, "Conv2d_0c_3x1")], 3)
    with v1.variable_scope("Branch_2"):
        y = conv(x, 384, "Conv2d_0a_1x1")
        y = conv(y, 448, "Conv2d_0b_3x1")
        y = conv(y, 512, "Conv2d_0c_1x3")
        c = tf.concat([conv(y, 256, "Conv2d_0d_1x3"), conv(y, 256, "Conv2d_0e_3x1")], 3)
    with v1.variable_scope("Branch_3"):
        d = conv(averaged(x), 256, "Conv2d_0b_1x1")
    return tf.concat([a, b, c, d], 3)


def inception_resnet_v2(x: Tensor, classes: int, aux: bool) -> tuple[Tensor, Tensor]:
    """Inception-ResNet-v2: logits and, if asked for, auxiliary logits."""
    auxiliaries = None
    with v1.variable_scope("InceptionResnetV2"):
        x = _plain_stem(x)
        x = pool(x)
        with v1.variable_scope("Mixed_5b"):
            x = branches(
                x,
                [("Conv2d_1x1", 96)],
                [("Conv2d_0a_1x1", 48), ("Conv2d_0b_5x5", 64)],
                [("Conv2d_0a_1x1", 64), ("Conv2d_0b_3x3", 96), ("Conv2d_0c_3x3", 96)],
                [("Conv2d_0b_1x1", 64)],
                pooled=averaged,
            )
        third = [("Conv2d_0a_1x1", 32), ("Conv2d_0b_3x3", 48), ("Conv2d_0c_3x3", 64)]
        x = _repeat(x, "Repeat", "block35", 10, lambda x: _block35(x, third))
        with v1.variable_scope("Mixed_6a"):
            x = _reduction_a(x, 256, 256, 384)
        x = _repeat(x, "Repeat_1", "block17", 20, lambda x: _block17(x, 192, (128, 160, 192)))
        if aux:
            with v1.variable_scope("AuxLogits"):
                auxiliaries = auxiliary(x, classes, "Conv2d_2a_5x5", "Logits")
        with v1.variable_scope("Mixed_7a"):
            x = _reduction_b(x, 288, (288, 320))
        widths = 192, 224, 256
        x = _repeat(x, "Repeat_2", "block8", 9, lambda x: _block8(x, widths, 0.2))
        with v1.variable_scope("Block8"):
            x = _block8(x, widths, 1.0, relu=False)
        x = conv(x, 1536, "Conv2d_7b_1x1")
        with v1.variable_scope("Logits"):
            return head(x, classes), auxiliaries


def inception_resnet_v1(x: Tensor, embedding: int) -> Tensor:
    """Inception-ResNet-v1 as facenet has it: the bottleneck, not normalized."""
    with v1.variable_scope("InceptionResnetV1"):
        x = _plain_stem(x)
        x = conv(x, 256, "Conv2d_4b_3x3", 2)
        third = [("Conv2d_0a_1x1", 32), ("Conv2d_0b_3x3", 32), ("Conv2d_0c_3x3", 32)]
        x = _repeat(x, "Repeat", "block35", 5, lambda x: _block35(x, third))
        with v1.variable_scope("Mixed_6a"):
            x = _reduction_a(x, 192, 192, 256)
        x = _repeat(x, "Repeat_1", "block17", 10, lambda x: _block17(x, 128, (128, 128, 128)))
        with v1.variable_scope("Mixed_7a"):
            x = _reduction_b(x, 256, (256, 256))
        widths = 192, 192, 192
        x = _repeat(x, "Repeat_2", "block8", 5, lambda x: _block8(x, widths, 0.2))
        with v1.variable_scope("Block8"):
            x = _block8(x, widths, 1.0, relu=False)
        x = tf.reduce_mean(x, [1, 2])
        return slim.fully_connected(x, embedding, activation_fn=None, scope="Bottleneck")


def people(bottleneck: Tensor, count: int) -> Tensor:
    """The classifier that facenet's networks were trained with, outside of their scope."""
    return slim.fully_connected(bottleneck, count, activation_fn=None, scope="Logits")


def _plain_stem(x: Tensor) -> Tensor:
    x = conv(x, 32, "Conv2d_1a_3x3", 2)
    x = conv(x, 32, "Conv2d_2a_3x3", padding="VALID")
    x = conv(x, 64, "Conv2d_2b_3x3")
    x = conv(pool(x), 80, "Conv2d_3b_1x1")
    return conv(x, 192, "Conv2d_4a_3x3", padding="VALID")


def _repeat(
    x: Tensor, scope: str, block: str, count: int, build: Callable[[Tensor], Tensor]
) -> Tensor:
    with v1.variable_scope(scope):
        for number in range(1, count + 1):
            with v1.variable_scope(f"{block}_{number}"):
                x = build(x)
    return x


def _block35(x: Tensor, third: Branch) -> Tensor:
    second = [("Conv2d_0a_1x1", 32), ("Conv2d_0b_3x3", 32)]
    return residual(x, 0.17, [("Conv2d_1x1", 32)], second, third)


def _block17(x: Tensor, first: int, second: tuple[int, int, int]) -> Tensor:
    scopes = "Conv2d_0a_1x1", "Conv2d_0b_1x7", "Conv2d_0c_7x1"
    return residual(x, 0.10, [("Conv2d_1x1", first)], list(zip(scopes, second, strict=True)))


def _block8(x: Tensor, widths: tuple[int, int, int], scale: float, relu: bool = True) -> Tensor:
    scopes = "Conv2d_0a_1x1", "Conv2d_0b_1x3", "Conv2d_0c_3x1"
    second = list(zip(scopes, widths, strict=True))
    return residual(x, scale, [("Conv2d_1x1", 192)], second, relu=relu)


def _reduction_a(x: Tensor, k: int, l: int, m: int) -> Tensor:  # noqa: E741, the paper's letters
    y = branches(
        x,
        [("Conv2d_1a_3x3", 384, 2)],
        [("Conv2d_0a_1x1", k), ("Conv2d_0b_3x3", l), ("Conv2d_1a_3x3", m, 2)],
    )
    return tf.concat([y, pool(x)], 3)


def _reduction_b(x: Tensor, second: int, third: tuple[int, int]) -> Tensor:
    y = branches(
        x,
        [("Conv2d_0a_1x1", 256), ("Conv2d_1a_3x3", 384, 2)],
        [("Conv2d_0a_1x1", 256), ("Conv2d_1a_3x3", second, 2)],
        [("Conv2d_0a_1x1", 256), ("Conv2d_0b_3x3", third[0]), ("Conv2d_1a_3x3", third[1], 2)],
    )
    return tf.concat([y, pool(x)], 3)
