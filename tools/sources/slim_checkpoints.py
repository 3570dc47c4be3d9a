"""Full-size checkpoints of the three networks by TensorFlow, and what TensorFlow makes of them.

    python -m tools.sources.slim_checkpoints FOLDER [inception_v4 inception_resnet_v2 ...]

It needs `tensorflow-cpu==2.15.1 tf_slim numpy<2`, 4 GB of memory and 4 GB of disk.  It writes, for
each network:

    <name>_v1.ckpt          version 1, one file, of the network alone
    <name>.ckpt.index ...   version 2, the same variables
    <name>_plain.ckpt...    version 2, without the auxiliary head
    <name>_train.ckpt...    version 2, as training leaves it: moving averages, slots, global_step
    <name>.pb               facenet's: the frozen graph
    <name>.npz              pictures, and the logits, auxiliary logits, logits of the moving
                            averages, or bottleneck and embedding

`slim_check.py` converts them and compares.

Every array has values of its own, drawn from its name; the batch-norm statistics come from a pass
over pictures in training mode, without which random networks of this depth are chaotic.
"""

import math
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parents[1] / "reference"))

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import saver_pb2

from rule import picture, scaled
from tools.sources import slim_networks
from tools.sources.slim_networks import arguments

v1 = tf.compat.v1
Values = dict[str, npt.NDArray[Any]]
CLASSES, PEOPLE = 1001, 8631
AVERAGE = "ExponentialMovingAverage"


def main(folder: Path, names: list[str]) -> None:
    """Write all files of the networks that are asked for."""
    v1.disable_v2_behavior()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("inception_v4", "inception_resnet_v2"):
        if not names or name in names:
            _classifier(folder / name, getattr(slim_networks, name))
    for embedding in (128, 512):
        name = f"facenet_{embedding}"
        if not names or name in names:
            _facenet(folder / name, embedding)


def _pictures(count: int, size: int, first: int) -> npt.NDArray[np.float32]:
    pictures: npt.NDArray[np.float32] = scaled(
        np.stack([picture(size, size, first + number) for number in range(count)])
    )
    return pictures


def _draw(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Values for a variable from its name; filters keep the variance, beta is about one."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("/weights"):
        values = random.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[:-1]))
    elif name.endswith("/biases"):
        values = random.standard_normal(shape) * 0.1
    else:
        values = random.uniform(0.5, 1.5, shape)
    return values.astype(np.float32)


def _classifier(path: Path, build: Callable[..., Any]) -> None:
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 299, 299, 3))
        with arguments(True, 0.0):
            calibrated = build(x, CLASSES, True)
        with v1.variable_scope("", reuse=True), arguments(False, 0.9997):
            logits = build(x, CLASSES, True)
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        _load(
            session,
            variables,
            {n: _draw(n, tuple(v.shape.as_list())) for n, v in variables.items()},
        )
        session.run(calibrated, {x: _pictures(8, 299, 100)})
        probe = _pictures(2, 299, 0)
        found = dict(zip(("logits", "aux_logits"), session.run(logits, {x: probe}), strict=True))
        values = session.run(variables)
        _save(session, path.with_name(f"{path.name}_v1.ckpt"), variables, saver_pb2.SaverDef.V1)
        _save(session, path.with_suffix(".ckpt"), variables)
        plain = {n: v for n, v in variables.items() if "/AuxLogits/" not in n}
        _save(session, path.with_name(f"{path.name}_plain.ckpt"), plain)

        averages = {n: _moved(n, value) for n, value in values.items()}
        _load(session, variables, averages)
        found["logits_of_averages"] = session.run(logits[0], {x: probe})
        _load(session, variables, values)
        extra: Values = {f"{n}/{AVERAGE}": value for n, value in averages.items()}
        for slot in ("RMSProp", "RMSProp_1"):
            for variable in v1.trainable_variables():
                name = f"{variable.op.name}/{slot}"
                extra[name] = _draw(name, tuple(variable.shape.as_list()))
        extra["global_step"] = np.array(1_234_567, np.int64)
        _save(session, path.with_name(f"{path.name}_train.ckpt"), variables | _made(session, extra))
    np.savez(path.with_suffix(".npz"), pictures=probe, **found)


def _facenet(path: Path, embedding: int) -> None:
    with v1.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 160, 160, 3), name="input")
        phase_train = v1.placeholder_with_default(False, (), name="phase_train")
        # as facenet does, which saved the trainable variables only
        collections = [v1.GraphKeys.TRAINABLE_VARIABLES]
        with arguments(phase_train, 0.0, collections):
            bottleneck = slim_networks.inception_resnet_v1(x, embedding)
        logits = slim_networks.people(bottleneck, PEOPLE)
        normalized = tf.nn.l2_normalize(bottleneck, 1, 1e-10, name="embeddings")
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        _load(
            session,
            variables,
            {n: _draw(n, tuple(v.shape.as_list())) for n, v in variables.items()},
        )
        session.run(bottleneck, {x: _pictures(16, 160, 100), phase_train: True})
        probe = _pictures(2, 160, 0)
        ends = {"bottleneck": bottleneck, "embedding": normalized, "logits": logits}
        found = session.run(ends, {x: probe})
        _save(session, path.with_suffix(".ckpt"), variables)
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["embeddings"]
        )
        path.with_suffix(".pb").write_bytes(frozen.SerializeToString())
        values = session.run(variables)
        extra: Values = {f"{n}/{AVERAGE}": _moved(n, value) for n, value in values.items()}
        extra |= {f"{n}/Adam": _draw(f"{n}/Adam", value.shape) for n, value in values.items()}
        extra["global_step"] = np.array(90_000, np.int64)
        _save(session, path.with_name(f"{path.name}_train.ckpt"), variables | _made(session, extra))
    np.savez(path.with_suffix(".npz"), pictures=probe, **found)


def _moved(name: str, value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a moving average may be: a few hundredths away from the variable."""
    factor = 0.97 + 0.03 * _draw(f"{name}/{AVERAGE}", value.shape)
    return value * factor.astype(np.float32)


def _made(session: Any, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """More variables, with values."""
    made = {}
    for name, value in values.items():
        made[name] = v1.Variable(
            v1.zeros(value.shape, value.dtype), name=name, trainable=False, use_resource=False
        )
    _load(session, made, values)
    return made


def _load(session: Any, variables: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    assign = {name: variable.initializer for name, variable in variables.items()}
    session.run(assign, {assign[name].inputs[1]: values[name] for name in assign})


def _save(
    session: Any, path: Path, variables: dict[str, Any], version: int = saver_pb2.SaverDef.V2
) -> None:
    saver = v1.train.Saver(variables, write_version=version)
    saver.save(session, str(path), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
