"""`minincep bench report`: measurements as one page for a browser, and as pictures."""

from pathlib import Path

import click


@click.command("report")
@click.argument(
    "records", metavar="RESULT...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Draw the figures as SVG and PNG, too; this needs matplotlib.",
)
def command(records: tuple[Path, ...], output: Path, plots: Path | None) -> None:
    """One page of what 'minincep bench ... --save' has written, to read in a browser.

    It needs no network: ladder, roofline, a comparison layer by layer, and a table of all
    measurements to sort and to filter.  Several files of one machine become one page; of what was
    measured twice, the later file counts.
    """
    from minincep.bench.html import page
    from minincep.bench.record import load
    from minincep.bench.summary import merge
    from minincep.io.files import NewFile

    record = merge([load(path) for path in records])
    with NewFile(output) as new:
        new.write(page(record).encode())
        if plots is not None:
            from minincep.bench.plots import draw

            drawn = draw(record, plots)
    click.echo(f"wrote {output}" + (f", {len(drawn)} pictures in {plots}" if plots else ""))
