"""`minincep info`: this installation, or a weights file."""

import platform
from pathlib import Path

import click


@click.command("info")
@click.argument("weights", required=False, type=click.Path(path_type=Path))
@click.option("--arrays", is_flag=True, help="List all arrays with their shapes.")
@click.option("--endpoints", is_flag=True, help="List all end points.")
def command(weights: Path | None, arrays: bool, endpoints: bool) -> None:
    """This installation; or what a weights file holds."""
    if weights is None:
        _installation()
    else:
        _file(weights, arrays, endpoints)


def _installation() -> None:
    import numba
    import numpy

    import minincep
    from minincep.models import list_models
    from minincep_kernels import cache, machine

    for name, value in [
        ("minincep", minincep.__version__),
        ("python", platform.python_version()),
        ("numpy", numpy.__version__),
        ("numba", numba.__version__),
        ("cores", machine.available_cores()),
        ("threads", machine.get_num_threads()),
        ("kernel cache", cache.cache_folder()),
        ("models", ", ".join(list_models())),
    ]:
        click.echo(f"{name:13} {value}")


def _file(path: Path, arrays: bool, endpoints: bool) -> None:
    from minincep.io.hdf5 import load

    network = load(path)
    parameters = sum(parameter.data.size for parameter in network.parameters().values())
    config = ", ".join(f"{key} {value}" for key, value in network.config.items())
    labels = network.labels
    for name, value in [
        ("architecture", network.architecture),
        ("config", config),
        ("parameters", f"{parameters:,}"),
        ("arrays", len(network.arrays())),
        ("preprocessing", network.preprocessing),
        ("labels", f"{len(labels)}: {', '.join(labels[:5])}" if labels else "none"),
        ("source", network.source or "unknown"),
    ]:
        click.echo(f"{name:13} {value}")
    if arrays:
        for name, array in network.arrays().items():
            click.echo(f"{name} {array.shape}")
    if endpoints:
        click.echo("\n".join(network.endpoint_names()))
