"""What `minincep train` shows while it runs, and what it does when it is asked to end."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

import click

from minincep.train.log import Epoch, Event, Step

FIRST = b"\nminincep: ending after this step, with a checkpoint; once more to end at once\n"


class Progress:
    """A line for each epoch; on a terminal also a bar, and how the last step went."""

    def __init__(self, epochs: int, start: float) -> None:
        self._epochs = epochs
        self._means: dict[str, float] = {}
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("{task.description}"), BarColumn(None), TimeRemainingColumn()]
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("reading", total=epochs, completed=start)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Step) and self._bar:
            loss, accuracy, speed = (
                self._mean(name, getattr(event, name))
                for name in ("loss", "accuracy", "images_per_second")
            )
            text = (
                f"epoch {min(int(event.epoch) + 1, self._epochs)}/{self._epochs}, "
                f"loss {loss:.4f}, accuracy {accuracy:.1%}, {speed:.1f} images/s"
            )
            self._bar.update(self._task, completed=event.epoch, description=text)
        elif isinstance(event, Epoch):
            self._say(line(event, self._epochs))

    def _mean(self, name: str, value: float) -> float:
        """What a number was in the last ten steps or so: single ones jump."""
        before = self._means.get(name, value)
        self._means[name] = before + 0.1 * (value - before)
        return self._means[name]

    def _say(self, text: str) -> None:
        if self._bar and sys.stdout.isatty():
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()


def line(epoch: Epoch, epochs: int) -> str:
    """How an epoch went, for people."""
    width = len(str(epochs))
    text = f"epoch {epoch.epoch:{width}}/{epochs}: loss {epoch.loss:.4f}, "
    text += f"accuracy {epoch.accuracy:6.1%}"
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        text += f"; validation: loss {epoch.validation_loss:.4f}, "
        text += f"accuracy {epoch.validation_accuracy:6.1%}"
    return f"{text}; {epoch.seconds:.0f} s{', best' if epoch.best else ''}"


@contextlib.contextmanager
def counting(pictures: int) -> Iterator[Callable[[int], None]]:
    """Within the `with` block a terminal shows how many pictures are done; call it with more."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("pictures", total=pictures)
        yield lambda count: bar.advance(task, count)


@contextlib.contextmanager
def obeying_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within the `with` block the first Ctrl-C or SIGTERM calls `stop`; a second ends at once.

    -> the signals that have come.
    """
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def obey(number: int, frame: FrameType | None) -> None:
        restore()
        came.append(number)
        stop()
        with contextlib.suppress(OSError):  # a terminal that is gone
            os.write(2, FIRST)  # whatever was being printed when it came

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, obey)
    try:
        yield came
    finally:
        restore()
