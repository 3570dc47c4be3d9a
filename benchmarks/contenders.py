"""The engines that `peers.py` compares, each in its best setting that computes in float32.

To add an engine, write a class like `OnnxRuntime` and put it into `CONTENDERS`.  Engines are
imported where they are used: a process has only its own, and starts as fast as it can.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module  # for engines without types, which few environments have
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


class Contender:
    """An engine.  It is made in a process of its own."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]  # whose versions the report states
    file: ClassVar[str] = "{model}.onnx"  # the network, in DIR or absolute
    converter: ClassVar[str] = ""  # the package that converts it, where `load` cannot read it
    batches: ClassVar[bool] = True  # takes more than one picture
    channels_first: ClassVar[bool] = True

    @staticmethod
    def convert(source: Path, folder: Path) -> None:
        """Write what `load` reads into an empty folder."""
        raise NotImplementedError

    def load(self, path: Path, threads: int, x: Floats) -> None:
        """Make ready to run the network, a file or a converted folder, on inputs of this shape."""
        raise NotImplementedError

    def run(self, x: Floats) -> Floats:
        """(N, H, W, 3), or (N, 3, H, W) with channels first -> logits or embeddings (N, K)."""
        raise NotImplementedError


class Minincep(Contender):
    """The network as a user calls it."""

    name = "minincep"
    packages = ("minincep", "numpy", "numba")
    file = str(DATA / "reference_{model}.h5")
    converter = "minincep"
    channels_first = False

    @staticmethod
    def convert(source: Path, folder: Path) -> None:
        import minincep as mi
        from minincep.io.verify import reference_network

        mi.save(reference_network(source), folder / "network.h5")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import minincep as mi

        mi.set_num_threads(threads)
        network = mi.load(path / "network.h5")

        def eager(x: Floats) -> Floats:
            with mi.no_grad():
                return np.asarray(network(mi.Tensor(x)).data)

        self._plan = eager  # mi.compile(network, image_size=x.shape[1], batch_size=len(x))

    def run(self, x: Floats) -> Floats:
        return self._plan(x)


class OnnxRuntime(Contender):
    """All graph optimisations, which is the default, for one batch size."""

    name = "ONNX Runtime"
    packages = ("onnxruntime",)

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_free_dimension_override_by_name("batch", len(x))
        cpu = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(path), options, providers=cpu)

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._session.run(None, {"input": x})[0])


class OpenVino(Contender):
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


class PyTorch(Contender):
    """Channels last, traced and frozen.

    Freezing joins each convolution with its ReLU, so it beats the same graph run eagerly.
    `torch.compile` with frozen weights gave wrong outputs for the Inception-ResNets, and
    `torch.jit.optimize_for_inference` was no faster.
    """

    name = "PyTorch"
    packages = ("torch", "onnx")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import torch

        from benchmarks.torch_graph import TorchGraph

        torch.set_num_threads(threads)
        self._torch = torch
        with torch.inference_mode():
            traced = torch.jit.trace(TorchGraph(path), self._tensor(x), check_trace=False)
            self._graph = torch.jit.freeze(traced)

    def run(self, x: Floats) -> Floats:
        with self._torch.inference_mode():
            return np.asarray(self._graph(self._tensor(x)).numpy())

    def _tensor(self, x: Floats) -> Any:
        return self._torch.from_numpy(x).to(memory_format=self._torch.channels_last)


class Ncnn(Contender):
    """Winograd, packing and SGEMM are its defaults; 16-bit storage and arithmetic are off."""

    name = "ncnn"
    packages = ("ncnn", "pnnx")
    converter = "pnnx"
    batches = False  # its arrays have no batch axis

    @staticmethod
    def convert(source: Path, folder: Path) -> None:
        size = inner_size(source)
        copy = shutil.copy(source, folder / "network.onnx")  # it writes files beside its input
        shape = f"inputshape=[1,3,{size},{size}]f32"
        script = "import pnnx; pnnx.pnnx()"
        run_python(script, str(copy), shape, "fp16=0")
        for path in folder.iterdir():
            if ".ncnn." not in path.name:
                path.unlink()

    def load(self, path: Path, threads: int, x: Floats) -> None:
        self._ncnn: Any = import_module("ncnn")
        self._net = self._ncnn.Net()
        option = self._net.opt
        option.num_threads = threads
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
        option.use_bf16_packed = option.use_bf16_storage = False
        for part, read in (("param", self._net.load_param), ("bin", self._net.load_model)):
            if read(str(path / f"network.ncnn.{part}")) != 0:
                raise RuntimeError(f"ncnn cannot read its own .{part} file")

    def run(self, x: Floats) -> Floats:
        extractor = self._net.create_extractor()
        extractor.input("in0", self._ncnn.Mat(x[0]))
        _, output = extractor.extract("out0")
        return np.array(output).reshape(1, -1)
