"""Which module of a PyTorch network gives which end point, in the order of the network.

The names are those of the released code, plus one for every repeated block.
"""

AUXILIARY = "<auxiliary head>"  # computed from the module in AUXILIARY_INPUT
PREDICTIONS = "<softmax>"  # computed from the logits
AUXILIARY_INPUT = {"inception_v4": "features.17", "inception_resnet_v2": "repeat_1.19"}
LOGITS = {"inception_v4": "last_linear", "inception_resnet_v2": "classif"}

Table = tuple[tuple[str, str], ...]

V4: Table = (
    ("Conv2d_1a_3x3", "features.0"),
    ("Conv2d_2a_3x3", "features.1"),
    ("Conv2d_2b_3x3", "features.2"),
    ("Mixed_3a", "features.3"),
    ("Mixed_4a", "features.4"),
    ("Mixed_5a", "features.5"),
    ("Mixed_5b", "features.6"),
    ("Mixed_5c", "features.7"),
    ("Mixed_5d", "features.8"),
    ("Mixed_5e", "features.9"),
    ("Mixed_6a", "features.10"),
    ("Mixed_6b", "features.11"),
    ("Mixed_6c", "features.12"),
    ("Mixed_6d", "features.13"),
    ("Mixed_6e", "features.14"),
    ("Mixed_6f", "features.15"),
    ("Mixed_6g", "features.16"),
    ("Mixed_6h", "features.17"),
    ("AuxLogits", AUXILIARY),
    ("Mixed_7a", "features.18"),
    ("Mixed_7b", "features.19"),
    ("Mixed_7c", "features.20"),
    ("Mixed_7d", "features.21"),
    ("global_pool", "global_pool"),
    ("PreLogitsFlatten", "global_pool"),
    ("Logits", "last_linear"),
    ("Predictions", PREDICTIONS),
)

V2: Table = (
    ("Conv2d_1a_3x3", "conv2d_1a"),
    ("Conv2d_2a_3x3", "conv2d_2a"),
    ("Conv2d_2b_3x3", "conv2d_2b"),
    ("MaxPool_3a_3x3", "maxpool_3a"),
    ("Conv2d_3b_1x1", "conv2d_3b"),
    ("Conv2d_4a_3x3", "conv2d_4a"),
    ("MaxPool_5a_3x3", "maxpool_5a"),
    ("Mixed_5b", "mixed_5b"),
    *((f"Repeat/block35_{i + 1}", f"repeat.{i}") for i in range(10)),
    ("Mixed_6a", "mixed_6a"),
    *((f"Repeat_1/block17_{i + 1}", f"repeat_1.{i}") for i in range(20)),
    ("PreAuxLogits", "repeat_1.19"),
    ("AuxLogits", AUXILIARY),
    ("Mixed_7a", "mixed_7a"),
    *((f"Repeat_2/block8_{i + 1}", f"repeat_2.{i}") for i in range(9)),
    ("Block8", "block8"),
    ("Conv2d_7b_1x1", "conv2d_7b"),
    ("global_pool", "global_pool"),
    ("PreLogitsFlatten", "global_pool"),
    ("Logits", "classif"),
    ("Predictions", PREDICTIONS),
)

V1: Table = (
    ("Conv2d_1a_3x3", "conv2d_1a"),
    ("Conv2d_2a_3x3", "conv2d_2a"),
    ("Conv2d_2b_3x3", "conv2d_2b"),
    ("MaxPool_3a_3x3", "maxpool_3a"),
    ("Conv2d_3b_1x1", "conv2d_3b"),
    ("Conv2d_4a_3x3", "conv2d_4a"),
    ("Conv2d_4b_3x3", "conv2d_4b"),
    *((f"Repeat/block35_{i + 1}", f"repeat_1.{i}") for i in range(5)),
    ("Mixed_5a", "repeat_1.4"),
    ("Mixed_6a", "mixed_6a"),
    *((f"Repeat_1/block17_{i + 1}", f"repeat_2.{i}") for i in range(10)),
    ("Mixed_6b", "repeat_2.9"),
    ("Mixed_7a", "mixed_7a"),
    *((f"Repeat_2/block8_{i + 1}", f"repeat_3.{i}") for i in range(5)),
    ("Mixed_8a", "repeat_3.4"),
    ("Block8", "block8"),
    ("Mixed_8b", "block8"),
    ("global_pool", "avgpool_1a"),
    ("PreLogitsFlatten", "avgpool_1a"),
    ("Bottleneck", "last_bn"),
    ("Embeddings", ""),  # the network itself
)

END_POINTS = {"inception_v4": V4, "inception_resnet_v2": V2, "inception_resnet_v1": V1}
