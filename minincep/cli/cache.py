"""`minincep cache`: the compiled kernels on this machine."""

import click


@click.group("cache")
def command() -> None:
    """The compiled kernels on this machine."""


@command.command("info")
def info() -> None:
    """Where they are, how many, and whether those of plans are there."""
    from minincep_kernels import cache
    from minincep_kernels.program import native

    files = cache.kept()
    there = "there" if native.is_kept() else "missing; 'minincep cache warm' compiles it"
    for name, value in [
        ("folder", cache.cache_folder() or "none can be written; set MININCEP_CACHE_DIR"),
        ("files", len(files)),
        ("size", f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"),
        ("for plans", there),
    ]:
        click.echo(f"{name:13} {value}")


@command.command("warm")
def warm() -> None:
    """Compile what plans need, and networks that run op by op."""
    import numpy as np

    from minincep.autograd import Tensor, no_grad
    from minincep.cli.compiling import announced
    from minincep.models import create_model, list_models
    from minincep.plan.plan import compile as compile_plan

    x = np.zeros((1, 75, 75, 3), np.float32)
    with announced(always=True) as compiled:
        for name in list_models():
            network = create_model(name, width=0.02, blocks=(1, 1, 1))
            compile_plan(network, image_size=75)(x)
            with no_grad():
                network.run_endpoints(Tensor(x), network.endpoint_names())
    click.echo(f"{len(compiled)} kernels compiled" if compiled else "all kernels were there")


@command.command("clear")
def clear() -> None:
    """Remove them; they are compiled again when they are needed."""
    from minincep_kernels import cache

    files = cache.clear()
    for file in files:
        click.echo(f"removed {file}")
    if not files:
        click.echo("nothing to remove")
