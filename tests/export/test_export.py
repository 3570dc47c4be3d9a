"""What holds for files of all kinds: whole or not at all, and clear about what cannot be."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from minincep.export import KINDS, export
from minincep.io.errors import WeightError
from minincep.models.registry import create_model
from minincep_kernels.errors import ConfigError, PlanError
from tests.export.test_safetensors import released

EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no kind of file 'pickle', only: safetensors, keras, on"):
        export(released("inception_v4"), tmp_path / "net", "pickle")  # type: ignore[arg-type]


@EACH_KIND
def test_same_bytes_again_in_the_place_of_an_old_file(kind: str, tmp_path: Path) -> None:
    net = released("inception_resnet_v2")
    path = tmp_path / "net"
    path.write_bytes(b"old")
    export(net, str(path), kind)  # type: ignore[arg-type]
    first = path.read_bytes()
    export(net, path, kind)  # type: ignore[arg-type]
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@EACH_KIND
def test_no_folder(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "absent/net"
    with pytest.raises(OSError, match=r"net cannot be written: .*absent is not a folder; make it"):
        export(released("inception_resnet_v2"), str(path), kind)  # type: ignore[arg-type]


@EACH_KIND
def test_numbers_that_are_no_weights(kind: str, tmp_path: Path) -> None:
    net = released("inception_resnet_v2")
    net.arrays()["block8/conv2d_1x1/bias"][0] = np.inf
    with pytest.raises(WeightError, match="cannot export: block8/conv2d_1x1/bias holds numbers"):
        export(net, tmp_path / "net", kind)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["safetensors", "keras"])
def test_networks_that_nobody_else_has(kind: str, tmp_path: Path) -> None:
    for name, config, message in [
        ("inception_resnet_v2_paper", {}, "network fits inception_resnet_v2_paper, only .* onnx"),
        ("inception_v4", {"blocks": (1, 1, 1)}, r"has \(1, 1, 1\) blocks, elsewhere \(4, 7, 3\): "),
    ]:
        net = create_model(name, width=0.05, **config)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=message):
            export(net, tmp_path / "net", kind)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_training_mode(kind: str, tmp_path: Path) -> None:
    net = released("inception_resnet_v2").train()
    with pytest.raises(PlanError, match=r"in training mode.*: call network.eval\(\) first"):
        export(net, tmp_path / "net", kind)  # type: ignore[arg-type]


@EACH_KIND
def test_weights_are_not_all_in_memory_again(kind: str, tmp_path: Path) -> None:
    net = released("inception_resnet_v1", width=0.5, embedding_size=1000, batch_norm_gamma=True)
    sizes = [array.nbytes for array in net.arrays().values()]
    export(net, tmp_path / "net", kind)  # type: ignore[arg-type]
    tracemalloc.start()
    export(net, tmp_path / "net", kind)  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < max(sizes) + sum(sizes) / 4


SWEEP = """
import errno, os, resource, sys
import minincep as mi
from minincep.export import export
from minincep.io.files import NewFile

path, kind = sys.argv[1:]
network = mi.create_model("inception_resnet_v2", width=0.02, num_classes=5)
export(network, path, kind)
size = os.stat(path).st_size
os.unlink(path)
written = 0
write = NewFile.write
def counted(self, content):
    global written
    written += len(content)
    return write(self, content)
NewFile.write = counted
for limit in [0, 1, 100, size // 3, size - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    written = 0
    try:
        export(network, path, kind)
    except OSError as error:
        assert error.errno == errno.EFBIG
        assert str(error).startswith(f"{path} cannot be written: File too large; make room")
    else:
        assert False, "a limit that is none"
    assert os.listdir(os.path.dirname(path)) == []
    assert written < limit + size / 2, "it goes on after a failure"
"""


@EACH_KIND
def test_full_disk(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SWEEP, str(tmp_path / "net"), kind]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
