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
    def convert(source: Path, folder: Path, size: int) -> None:
        """Write what `load` reads into an empty folder, for pictures of this size."""
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
    def convert(source: Path, folder: Path, size: int) -> None:
        import minincep as mi
        from minincep.io.verify import reference_network

        mi.save(reference_network(source), folder / "network.h5")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import minincep as mi

        mi.set_num_threads(threads)
        self._plan = mi.compile(
            mi.load(path / "network.h5"), image_size=x.shape[1], batch_size=len(x), tune=True
        )

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

    That beat running the same graph eagerly.  `torch.jit.optimize_for_inference` added nothing.
    `torch.compile` was no faster, and with `freezing` its outputs for the Inception-ResNets were
    wrong.
    """

    name = "PyTorch"
    packages = ("torch", "onnx")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        import torch

        from benchmarks.torch_graph import TorchGraph

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
        return self._torch.from_numpy(x).to(memory_format=self._torch.channels_last)


class Ncnn(Contender):
    """Winograd, packing and SGEMM are its defaults; 16-bit storage and arithmetic are off."""

    name = "ncnn"
    packages = ("ncnn", "pnnx")
    converter = "pnnx"
    batches = False  # its arrays have no batch axis

    @staticmethod
    def convert(source: Path, folder: Path, size: int) -> None:
        link = folder / "network.onnx"  # everything is written beside the input
        link.symlink_to(source.resolve())
        shape = f"inputshape=[1,3,{size},{size}]f32"
        run_python("import pnnx; pnnx.pnnx()", link, shape, "fp16=0")
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


class Mnn(Contender):
    """Precision "high" is float32 on every CPU."""

    name = "MNN"
    packages = ("MNN",)
    converter = "MNN"

    @staticmethod
    def convert(source: Path, folder: Path, size: int) -> None:
        # Not the command `mnnconvert`: at its start it installs a package that reports its use,
        # with whatever `pip` comes first on the path.  This is the function inside.
        script = "import sys, _tools; sys.exit(not _tools.mnnconvert(sys.argv))"
        model = folder / "network.mnn"
        run_python(script, "-f", "ONNX", "--modelFile", source, "--MNNModel", model)

    def load(self, path: Path, threads: int, x: Floats) -> None:
        mnn: Any = import_module("MNN")
        self._expr = mnn.expr
        setting = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self._manager = mnn.nn.create_runtime_manager((setting,))
        # Hint 3 is how far Winograd may go.  At 3, the default, tiles are so large that outputs
        # differ by more than TOLERANCE; 2 is the next.
        self._manager.set_hint(3, 2)
        self._net = mnn.nn.load_module_from_file(
            str(path / "network.mnn"),
            ["input"],
            ["output"],
            runtime_manager=self._manager,
            shape_mutable=False,
        )

    def run(self, x: Floats) -> Floats:
        output = self._net.forward(self._expr.const(x, x.shape, self._expr.NCHW))
        return np.array(output.read())


CONTENDERS: tuple[type[Contender], ...] = (Minincep, OnnxRuntime, OpenVino, PyTorch, Ncnn, Mnn)


def run_python(script: str, *arguments: str | Path) -> None:
    """Run a converter in a process of its own; what it prints goes to stderr."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def prepared(contender: type[Contender], source: Path, cache: Path, size: int) -> Path:
    """What the contender's `load` reads, converted if that was not done yet, whole or not at all.

    Conversions are kept in CACHE/<converter>-<version>/<network>/, and made again when the source
    is newer.
    """
    if not contender.converter:
        return source
    package = f"{contender.converter}-{version(contender.converter)}"
    folder = cache / package / source.stem
    if folder.exists() and folder.stat().st_mtime > source.stat().st_mtime:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"converting {source.name} for {contender.name}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        part = Path(scratch) / "part"
        part.mkdir()
        contender.convert(source, part, size)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    return folder
