"""The engines that `peers.py` compares, each in its best setting that computes in float32.

To add an engine, write a class like `Ncnn` and put it into `CONTENDERS`.  Engines are imported
where they are used: a process has only its own, and starts as fast as it can.
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

from minincep.bench import engines
from minincep.bench.engines import Engine, Floats

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


class Contender(Engine):
    """An engine that runs the networks with reference weights.

    Its file is in DIR, or absolute.  Pictures are (N, H, W, 3), or (N, 3, H, W) with channels
    first.
    """

    converter: ClassVar[str] = ""  # the package that converts the file, where `load` cannot read it
    batches: ClassVar[bool] = True  # takes more than one picture
    channels_first: ClassVar[bool] = True

    @staticmethod
    def convert(source: Path, folder: Path, size: int) -> None:
        """Write what `load` reads into an empty folder, for pictures of this size."""
        raise NotImplementedError


class Minincep(engines.Minincep, Contender):
    """The network as a user calls it."""

    file = str(DATA / "reference_{model}.h5")
    converter = "minincep"
    channels_first = False

    @staticmethod
    def convert(source: Path, folder: Path, size: int) -> None:
        import minincep as mi
        from minincep.io.verify import reference_network

        mi.save(reference_network(source), folder / "network.h5")

    def load(self, path: Path, threads: int, x: Floats) -> None:
        super().load(path / "network.h5", threads, x)


class OnnxRuntime(engines.OnnxRuntime, Contender):
    """All graph optimisations."""


class OpenVino(engines.OpenVino, Contender):
    """Set for latency."""


class PyTorch(engines.PyTorch, Contender):
    """Traced and frozen."""


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
