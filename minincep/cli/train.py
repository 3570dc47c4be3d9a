"""`minincep train`: a network learns from a folder of pictures."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import click

from minincep.cli import options
from minincep.cli.say import say
from minincep.io.text import table
from minincep.train.settings import KINDS, RECIPES, Settings

if TYPE_CHECKING:
    from minincep.train.checkpoint import Checkpoint
    from minincep.train.log import Event
    from minincep.train.trainer import Trainer


def _numbers(kind: type) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Reads a list such as 1,2,1."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError:
            raise click.BadParameter(f"write numbers such as 1,2,1, not {text!r}") from None

    return read


def all_settings(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each setting, in their order, None where nothing is given."""
    for field in reversed(dataclasses.fields(Settings)):
        if field.name == "data":
            continue
        kind = KINDS[field.name]
        kind = get_args(kind)[0] if NoneType in get_args(kind) else kind
        name = field.name.replace("_", "-")
        text = field.metadata["help"]
        if field.default not in (None, (), False):
            text += f"  [default: {field.default}]"
        named: dict[str, Any] = {"help": text, "default": None}
        if kind is bool:
            name = f"{name}/--no-{name}"
        elif kind == tuple[str, ...]:
            named |= {"multiple": True, "metavar": "PATTERN"}
        elif get_origin(kind) is tuple:
            named |= {"callback": _numbers(get_args(kind)[0]), "metavar": "A,B,..."}
        elif field.metadata["choices"]:
            named |= {"type": click.Choice(field.metadata["choices"])}
        else:
            named |= {"type": kind}
        command = click.option(f"--{name}", field.name, **named)(command)
    return command


@click.command("train")
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for weights, log, checkpoint; made if it is not there.",
)
@click.option("--recipe", type=click.Choice(list(RECIPES)), help="Settings that belong together.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--resume", is_flag=True, help="Go on with the training in the folder.")
@all_settings
def command(
    data: Path | None,
    folder: Path,
    recipe: str | None,
    config: Path | None,
    resume: bool,
    **given: Any,
) -> None:
    """Train a network on pictures: DATA is a folder with a folder for each class, or a CSV file.

    A folder that holds train and val is taken as it is; other data are split.  With --weights, what
    the network knows already is refined: transfer learning.

    Ctrl-C ends after the running step, with a checkpoint; --resume goes on from there, as after
    anything else that ended the program, and gives the result of a run without interruption.
    """
    from minincep.train.folder import check_apart, look

    wishes = {name: value for name, value in given.items() if value not in (None, ())}
    wishes |= {} if data is None else {"data": str(data)}
    found = look(folder, resume=resume)
    settings = _settings(folder, recipe, config, wishes, found, resume).with_whole_paths()
    check_apart(folder, settings)
    with options.running_as(settings.threads, ()):
        _train(folder, settings, found)


def _settings(
    folder: Path,
    recipe: str | None,
    config: Path | None,
    wishes: dict[str, Any],
    found: "Checkpoint | None",
    resume: bool,
) -> Settings:
    from minincep.train import settings
    from minincep.train.folder import SETTINGS

    if not resume:
        return settings.from_sources(recipe=recipe, config=config, given=wishes)
    if recipe or config:
        raise click.UsageError("--resume goes on with the settings of before")
    before = found.header["settings"] if found else settings.read_config(folder / SETTINGS)
    return settings.resumed(before, wishes)


def _train(folder: Path, settings: Settings, found: "Checkpoint | None") -> None:
    from minincep.cli.training import Progress, obeying_signals
    from minincep.train import build
    from minincep.train.folder import opened

    train, validation = build.read_data(settings)
    network = (
        build.resumed(found, train.classes)
        if found
        else build.make_network(settings, train.classes)
    )
    with contextlib.ExitStack() as stack:
        loaders = build.make_loaders(settings, network.preprocessing, train, validation)
        for loader in filter(None, loaders):
            stack.enter_context(loader)
        trainer = build.make_trainer(settings, network, *loaders, folder=folder)
        log = stack.enter_context(opened(folder, settings))
        if found:
            trainer.resume(found)
            del found
        log.go_on(step=trainer.state.step, epoch=trainer.state.epoch)
        progress = Progress(settings.epochs, trainer.state.epoch)

        def tell(event: "Event") -> None:
            log(event)
            progress(event)

        trainer.on_event = tell
        with obeying_signals(trainer.stop) as came, progress:
            finished = trainer.run()
        skipped = [*train.skipped, *(validation.skipped if validation else ())]
        skipped += [bad for loader in loaders if loader for bad in loader.skipped]
        _list_skipped(folder, skipped)
        if not finished:
            state = trainer.state
            say(
                f"minincep: stopped in epoch {state.epoch + 1}, after step {state.step}; go on "
                f"with: minincep train --resume -o {shlex.quote(str(folder))}",
                err=True,
            )
            raise SystemExit(128 + came[0])
        _finish(folder, trainer)


def _list_skipped(folder: Path, skipped: "Sequence[tuple[Path, str]]") -> None:
    """Write the table of pictures that were left out, if there are any, and say how many."""
    from minincep.io.files import NewFile
    from minincep.train.folder import SKIPPED

    if not skipped:
        return
    rows = [("file", "reason"), *dict.fromkeys(skipped)]
    with NewFile(folder / SKIPPED) as new:
        new.write(table(rows).encode(errors="surrogateescape"))
    say(f"minincep: {len(skipped)} files were left out: {folder / SKIPPED}", err=True)


def _finish(folder: Path, trainer: "Trainer") -> None:
    """Measure the best weights, and draw what there is to draw."""
    from minincep.cli.report import show
    from minincep.io.hdf5 import load
    from minincep.train import curves, log
    from minincep.train.evaluate import answering, evaluate
    from minincep.train.folder import LOG
    from minincep.train.trainer import BEST, LAST

    files = [LAST]
    report = None
    if (loader := trainer.validation) is not None:
        best = load(folder / BEST)
        with answering(best, loader) as logits_of:
            report = evaluate(logits_of, loader)
        assert report is not None  # nobody stops it
        click.echo(f"best weights, of epoch {trainer.state.best_epoch}:")
        show(report)
        curves.write_csv(report, folder / "confusion.csv")
        files = [BEST, LAST, "confusion.csv"]
    if curves.available():
        drawn = curves.draw_curves(*log.read(folder / LOG), folder / "curves")
        if report is not None:
            drawn += curves.draw_confusion(report, folder / "confusion")
        files += [path.name for path in drawn]
    else:
        click.echo(f"minincep: {curves.MISSING}", err=True)
    say(f"in {folder}: {', '.join(files)}")
