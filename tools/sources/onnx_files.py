"""Write the small files in tests/data/sources that ONNX's own library must write.

    python -m tools.sources.onnx_files tests/data/sources

It needs `onnx`.  The arrays follow from `sample_rule.py`.
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.sources.sample_rule import GRAPH, draw

TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
}


def write(folder: Path) -> None:
    """All files."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(raw=True), folder / "onnx_raw.onnx")
    onnx.save(_model(raw=False), folder / "onnx_lists.onnx")
    (folder / "onnx_external.data").unlink(missing_ok=True)  # the library would append
    onnx.save(
        _model(raw=True),
        folder / "onnx_external.onnx",
        save_as_external_data=True,
        location="onnx_external.data",
        size_threshold=16,
    )


def _model(*, raw: bool) -> onnx.ModelProto:
    initialisers = [_tensor(name, *about, raw=raw) for name, about in GRAPH.items()]
    node = helper.make_node("Identity", ["Net/one"], ["output"])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, (1,))
    graph = helper.make_graph([node], "sample", [], [output], initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _tensor(name: str, dtype: str, shape: tuple[int, ...], *, raw: bool) -> onnx.TensorProto:
    kind = TYPES[dtype]
    tensor = helper.make_tensor(name, kind, shape, draw(name, shape).reshape(-1).tolist())
    if raw:
        values = numpy_helper.to_array(tensor)
        del tensor.float_data[:], tensor.double_data[:], tensor.int32_data[:], tensor.int64_data[:]
        tensor.raw_data = values.tobytes()
    return tensor


if __name__ == "__main__":
    write(Path(sys.argv[1]))
