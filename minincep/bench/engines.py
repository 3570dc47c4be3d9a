"""Engines that run a whole network, each in its best setting that computes in float32.

Engines are imported where they are used: a process has only its own, and starts as fast as it can.
They are no part of minincep, which never needs them: hence `import_module`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Engine:
    """An engine.  It is made in a process of its own."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]  # whose versions the report states
    file: ClassVar[str] = "{model}.onnx"  # what it reads

    def load(self, path: Path, threads: int, x: Floats) -> None:
        """Make ready to run the network on inputs of this shape."""
        raise NotImplementedError

    def run(self, x: Floats) -> Floats:
        """Pictures, as the file wants them -> logits or embeddings (N, K)."""
        raise NotImplementedError


class Minincep(Engine):
    """The network as a user calls it."""

    name = "minincep"
    packages = ("minincep", "numpy", "numba")
    file = "{model}.h5"

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import minincep as mi

        mi.set_num_threads(threads)
        network = mi.load(path)
        self._plan = mi.compile(network, image_size=x.shape[1], batch_size=len(x), tune=True)

    def run(self, x: Floats) -> Floats:
        return self._plan(x)


class OnnxRuntime(Engine):
    """All graph optimisations, which is the default, for one batch size."""

    name = "ONNX Runtime"
    packages = ("onnxruntime",)

    def load(self, path: Path, threads: int, x: Floats) -> None:
        onnxruntime: Any = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        for name, length in [("batch", len(x)), *zip("NHW", x.shape, strict=False)]:
            options.add_free_dimension_override_by_name(name, length)  # such as the file has
        cpu = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=cpu)

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._session.run(None, {"input": x})[0])


class OpenVino(Engine):
    """Set for latency.  By itself it would compute in bfloat16 wherever the CPU can."""

    name = "OpenVINO"
    packages = ("openvino",)

    def load(self, path: Path, threads: int, x: Floats) -> None:
        core: Any = import_module("openvino").Core()
        model = core.read_model(path)
        model.reshape(x.shape)
        setting = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._compiled = core.compile_model(model, "CPU", setting)

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._compiled(x)[0])


class PyTorch(Engine):
    """Channels last, traced and frozen.

    That beat running the same graph eagerly.  `torch.jit.optimize_for_inference` added nothing.
    `torch.compile` was no faster, and with `freezing` its outputs for the Inception-ResNets were
    wrong.
    """

    name = "PyTorch"
    packages = ("torch", "onnx")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        from minincep.bench.torch_graph import TorchGraph

        torch: Any = import_module("torch")
        torch.set_num_threads(threads)
        self._torch = torch
        with torch.inference_mode():
            graph = TorchGraph(path).eval()
            traced = torch.jit.trace(graph, self._tensor(x), check_trace=False)
            self._graph = torch.jit.freeze(traced)

    def run(self, x: Floats) -> Floats:
        with self._torch.inference_mode():
            return np.asarray(self._graph(self._tensor(x)).numpy())

    def _tensor(self, x: Floats) -> Any:
        """The same memory if its channels come last, as a copy else."""
        tensor = self._torch.from_numpy(x)
        return tensor if x.shape[-1] == 3 else tensor.to(memory_format=self._torch.channels_last)


ENGINES: dict[str, type[Engine]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "torch": PyTorch,
}
