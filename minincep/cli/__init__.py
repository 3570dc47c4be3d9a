"""The command line: one file a command, and nothing heavy imported before a command runs."""

import importlib
import io
import signal
import sys

import click

import minincep
from minincep.cli.say import say

COMMANDS = {
    "classify": "What is in these pictures?",
    "embed": "Vectors that are close for pictures that are alike.",
    "features": "What comes out inside the network.",
    "train": "A network learns from a folder of pictures.",
    "evaluate": "How good a network is on pictures whose classes are known.",
    "info": "This installation, or a weights file.",
    "download": "Fetch published weights.",
    "convert": "Other people's weights into a weights file, or ours into theirs.",
    "verify": "Compare a network with an independent implementation.",
    "compare": "Layer by layer: what differs between weights, and why.",
    "compile": "Make a plan of a weights file, for quick starts.",
    "profile": "Where the time goes, step by step.",
    "bench": "The kernel laboratory: verify, time and compare kernels.",
    "cache": "The compiled kernels on this machine.",
}


class Commands(click.Group):
    """Commands by name; each is imported when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"minincep.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(minincep.__version__, prog_name="minincep")
def group() -> None:
    """Inception-v4, Inception-ResNet-v1 and Inception-ResNet-v2 on a CPU."""


def main() -> None:
    """Run the command line: exit status 0 for success, 1 for a failed check, 2 for bad input.

    Status 1 also if the reader of the output, such as head, has had enough: click sees to that.
    """
    for name, status in (("SIGTERM", 143), ("SIGHUP", 129)):  # so that files are left in order
        number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup has it ignored
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda *_, status=status: sys.exit(status))
    try:
        sys.exit(group(standalone_mode=False))
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        for line in text.getvalue().rstrip("\n").split("\n"):
            say(line, err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("minincep: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        from minincep_kernels.errors import UserError

        # A terminal of few characters is the user's to change, too.
        if not isinstance(error, UserError | OSError | UnicodeError):
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        # Lines of a report are indented; any other line break is part of a name.
        first, *rest = f"minincep: {error}{notes}".split("\n  ")
        say(first, err=True)
        for line in rest:
            say(f"  {line}", err=True)
        sys.exit(2)
