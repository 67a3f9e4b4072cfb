"""The command line: one small file per command, loaded when it is called.

Results (paths, tables) go to stdout, progress and errors to stderr. Exit codes: 0, 1 (failed), 2 (bad input).
`--debug` anywhere shows the traceback of an error.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TextIO

import click

import multidiff
from multidiff.errors import MultidiffError, Notice

# Before torch is loaded: its threads, waiting for each other, would spin, and beside other work on the machine all
# would take many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

COMMANDS = {
    "list": "Models and recipes at hand; samplers, schedules, losses, guidance.",
    "sample": "Make media from a prompt.",
    "complete": "Fill in what is missing from a file.",
    "edit": "Change a file towards a prompt, or vary it.",
    "restore": "Undo a blur or a loss of resolution.",
    "morph": "Lead from one file to another.",
    "convert": "A media file in another format.",
    "inspect": "What a media file, sidecar, model or recipe holds.",
    "train": "Train a recipe on your own files.",
    "distill": "Teach a model to sample in few steps.",
    "posthoc": "Average a run's weights over another length.",
    "grid": "The times of few steps that suit a model best.",
    "score": "How usual files are for a model.",
    "features": "What a model's network makes of files, as arrays.",
    "export": "Parts of a model as TorchScript or ONNX.",
    "eval": "Measure a model against real files.",
    "data": "Make, pack and check data sets.",
    "bench": "Measure samplers against theory and peers.",
    "doctor": "What this machine can do, and what is wrong with it.",
}
"""command -> its line in --help; the module multidiff.cli.<command> holds a click command `command`."""


class Lazy(click.Group):
    """A group that imports a command's module when it is called, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = "evaluate" if cmd_name == "eval" else "listing" if cmd_name == "list" else cmd_name
        command: click.Command = import_module(f"multidiff.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(multidiff.__version__, prog_name="multidiff")
def group() -> None:
    """Audio, video and 3D point clouds from one diffusion core.

    MODEL is a name shown by `multidiff list`, a model folder, or a training run's folder.
    """


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line on stderr, in the place of `warnings.showwarning`."""
    click.echo(f"note: {message}", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script: runs a command and turns every error into one clear line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        if strange := next((a for a in arguments if not _is_text(a)), None):
            raise click.UsageError(f"{strange!r}: is not UTF-8 text")
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")  # libraries talk to programmers
            warnings.simplefilter("default", Notice)
            warnings.showwarning = _note
            code = group.main(arguments, prog_name="multidiff", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = _fail("interrupted; what was finished is kept, nothing half-written is left", 1, debug)
    except click.ClickException as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, click.UsageError) and error.ctx else ""
        code = _fail(error.format_message() + hint, 2, debug)
    except MultidiffError as error:
        code = _fail(str(error), error.exit_code, debug)
    except OSError as error:
        code = _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1, debug)
    except Exception as error:
        if _is_memory(error):
            code = _fail("out of memory; ask for less at once, close other programs or use another --device", 1, debug)
        else:
            message = " ".join(str(error).split())
            code = _fail(f"{type(error).__name__}: {message} (a fault of multidiff's; --debug shows where)", 1, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's (torch.OutOfMemoryError) or torch's on a CPU."""
    return (
        isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "DefaultCPUAllocator" in str(error)
    )


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    for line in message.splitlines():
        click.echo(f"error: {line}", err=True)
    return code
