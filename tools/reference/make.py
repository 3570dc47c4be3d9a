"""Make the reference data in tests/data/, and ONNX files, with independent implementations.

Usage (in the environment that README.md describes):

    python tools/reference/make.py names
    python tools/reference/make.py outputs [ARCHITECTURE ...]
    python tools/reference/make.py gradients
    python tools/reference/make.py facenet-keras FILE
    python tools/reference/make.py onnx DIR [ARCHITECTURE ...]

`names` takes seconds, everything else up to a minute or two for each network.
"""

import argparse
from pathlib import Path

import block_gradients
import facenet_keras
import golden_names
import onnx_export
import reference_outputs
from torch_networks import ARCHITECTURES


def main() -> None:
    """Read the command line and make what it asks for."""
    parser = argparse.ArgumentParser(description="Make reference data and ONNX files.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("names", help="golden lists of array names and shapes")
    outputs = commands.add_parser("outputs", help="every end point of the full networks")
    commands.add_parser("gradients", help="gradients of one block of each kind")
    real = commands.add_parser("facenet-keras", help="embeddings by the real weights of a file")
    real.add_argument("file", type=Path, help="facenet_keras.h5, see README.md")
    onnx = commands.add_parser("onnx", help="the full networks as ONNX files, for benchmarks")
    onnx.add_argument("directory", type=Path, metavar="DIR")
    for command in (outputs, onnx):
        command.add_argument("architectures", nargs="*", metavar="ARCHITECTURE")
    arguments = parser.parse_args()
    architectures = getattr(arguments, "architectures", None) or list(ARCHITECTURES)
    unknown = sorted(set(architectures) - set(ARCHITECTURES))
    if unknown:
        parser.error(f"no network {unknown}: choose from {list(ARCHITECTURES)}")
    match arguments.command:
        case "names":
            golden_names.make()
        case "outputs":
            for architecture in architectures:
                reference_outputs.make(architecture)
        case "gradients":
            block_gradients.make()
        case "facenet-keras":
            facenet_keras.make(arguments.file)
        case "onnx":
            for architecture in architectures:
                onnx_export.make(architecture, arguments.directory)


if __name__ == "__main__":
    main()
