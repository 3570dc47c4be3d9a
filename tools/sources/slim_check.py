"""Convert what `slim_checkpoints.py` wrote, and compare with what TensorFlow made of it.

    python -m tools.sources.slim_check FOLDER

It needs minincep.  Errors are the largest difference over the standard deviation.
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minincep.autograd import Tensor, no_grad
from minincep.io.convert import convert
from minincep.io.errors import WeightError
from minincep.models.network import Network

FILES = {  # file -> which of the outputs stored for a network it must give
    "{}_v1.ckpt": "logits",
    "{}.ckpt": "logits",
    "{}.ckpt.index": "logits",
    "{}.ckpt.data-00000-of-00001": "logits",
    "{}_plain.ckpt": "logits",
    "{}_train.ckpt": "logits_of_averages",
}
LIMIT = 1e-4


def main(folder: Path) -> int:
    """Compare all that is there; 1 if something differs."""
    failed = 0
    for name in ("inception_v4", "inception_resnet_v2"):
        if (folder / f"{name}.npz").is_file():
            stored = np.load(folder / f"{name}.npz")
            for pattern, output in FILES.items():
                failed += _compare(folder / pattern.format(name), stored, output)
            failed += _compare(folder / f"{name}_train.ckpt", stored, "logits", averages=False)
    for name in ("facenet_128", "facenet_512"):
        if (folder / f"{name}.npz").is_file():
            stored = np.load(folder / f"{name}.npz")
            for end in (".ckpt", ".pb"):
                failed += _compare(folder / f"{name}{end}", stored, "bottleneck")
            train = folder / f"{name}_train.ckpt"
            failed += _compare(train, stored, "bottleneck", averages=False)
    return int(failed > 0)


def _compare(path: Path, stored: Any, output: str, averages: bool | None = None) -> bool:
    start = time.perf_counter()
    try:
        background = None if output == "bottleneck" else "keep"
        network = convert(path, background=background, moving_averages=averages)
    except WeightError as refusal:
        print(f"{path.name}: {refusal}")
        return True
    seconds = time.perf_counter() - start
    wrong = False
    for name, found in _outputs(network, stored["pictures"], output).items():
        expected = stored[name]
        error = float(np.max(np.abs(found - expected)) / expected.std())
        wrong |= not error < LIMIT
        print(
            f"{path.name}: {name} of {network.architecture}: {error:.1e}, read in {seconds:.1f} s"
        )
    return wrong


def _outputs(
    network: Network, pictures: npt.NDArray[np.float32], output: str
) -> dict[str, npt.NDArray[np.float32]]:
    if output == "bottleneck":
        ends = {output: "Bottleneck", "embedding": "Embeddings", "logits": "Logits"}
    else:
        ends = {output: "Logits"}
        if output == "logits":
            ends["aux_logits"] = "AuxLogits"
    there = network.endpoint_names()
    ends = {name: end for name, end in ends.items() if end in there}
    with no_grad():
        found = network.run_endpoints(Tensor(pictures), list(ends.values()))
    return {name: found[end].data for name, end in ends.items()}


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory of all: {peak / 1024:.0f} MB")
    sys.exit(status)
