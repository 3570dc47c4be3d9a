"""Write the small files in tests/data/sources that TensorFlow must write.

    python -m tools.sources.tensorflow_files tests/data/sources

It needs `tensorflow-cpu==2.15.1`, the last line whose numpy is below 2 and that still writes
version 1 of the checkpoints.  The arrays follow from `sample_rule.py`; nothing else is in them.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saver_pb2

from tools.sources.sample_rule import GRAPH, VARIABLES, draw

v1 = tf.compat.v1


def write(folder: Path) -> None:
    """All files."""
    folder.mkdir(parents=True, exist_ok=True)
    v1.disable_eager_execution()
    _checkpoint(folder / "tf_v2.ckpt", VARIABLES)
    _checkpoint(folder / "tf_v2_sharded.ckpt", VARIABLES, sharded=True)
    without = {name: about for name, about in VARIABLES.items() if about[0] != "bfloat16"}
    _checkpoint(folder / "tf_v1.ckpt", without, version=saver_pb2.SaverDef.V1)
    _checkpoint(folder / "tf_v2_parts.ckpt", {}, parts=True)
    _checkpoint(folder / "tf_v1_parts.ckpt", {}, version=saver_pb2.SaverDef.V1, parts=True)
    _graph(folder / "tf_frozen.pb")


def _checkpoint(
    path: Path,
    variables: Mapping[str, tuple[str, tuple[int, ...]]],
    *,
    sharded: bool = False,
    version: int = saver_pb2.SaverDef.V2,
    parts: bool = False,
) -> None:
    with v1.Graph().as_default(), v1.Session(config=_two_devices()) as session:
        made = []
        for number, (name, (dtype, shape)) in enumerate(variables.items()):
            with v1.device(f"/cpu:{number % 2 if sharded else 0}"):
                kind = tf.as_dtype(dtype)
                start = tf.cast(v1.constant(draw(name, shape)), kind)
                made.append(v1.Variable(start, name=name, use_resource=False, dtype=kind))
        if parts:
            value = draw("parts", (6, 4))
            v1.get_variable(
                "parts",
                (6, 4),
                partitioner=v1.fixed_size_partitioner(2),
                initializer=lambda shape, partition_info, **_: tf.constant(
                    value[partition_info.var_offset[0] :][: shape[0]]
                ),
                use_resource=False,
            )
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(sharded=sharded, write_version=version)
        saver.save(session, str(path), write_meta_graph=False, write_state=False)


def _two_devices() -> Any:
    return v1.ConfigProto(device_count={"CPU": 2})


def _graph(path: Path) -> None:
    with v1.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), name="input")
        for name, (dtype, shape) in GRAPH.items():
            kind = tf.as_dtype(dtype)
            start = tf.cast(v1.constant(draw(name, shape)), kind)
            variable = v1.Variable(start, name=name, use_resource=False, dtype=kind)
            x = tf.identity(x) + tf.cast(tf.reduce_sum(variable), tf.float32)
        # one value for all, which is stored once
        x = x + tf.reduce_sum(v1.constant(0.25, shape=(5, 4), name="repeated"))
        output = tf.identity(x, name="output")
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [output.op.name]
        )
        # TensorFlow packs arrays as bytes; released graphs of 2017 have lists of numbers as well
        listed = frozen.node.add(op="Const", name="listed")
        listed.attr["dtype"].type = tf.float32.as_datatype_enum
        value = listed.attr["value"].tensor
        value.dtype = tf.float32.as_datatype_enum
        value.tensor_shape.CopyFrom(tf.TensorShape((2, 3)).as_proto())
        value.float_val.extend(draw("listed", (2, 3)).reshape(-1).tolist())
        halves = frozen.node.add(op="Const", name="halves")
        halves.attr["dtype"].type = tf.float16.as_datatype_enum
        value = halves.attr["value"].tensor
        value.dtype = tf.float16.as_datatype_enum
        value.tensor_shape.CopyFrom(tf.TensorShape((7,)).as_proto())
        bits = draw("halves", (7,)).astype(np.float16).view(np.uint16)
        value.half_val.extend(bits.tolist())
        path.write_bytes(frozen.SerializeToString(deterministic=True))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
