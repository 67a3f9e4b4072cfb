"""multidiff complete MODEL FILE: what is missing from a file."""

from __future__ import annotations

from typing import Any

import click

from multidiff.cli import common


@click.command(short_help="Fill in what is missing from a file.")
@click.argument("model")
@click.argument("given", metavar="FILE")
@click.option("--task", help="What to complete; by default what the options imply. See `multidiff inspect MODEL`.")
@click.option("--prompt", default="", help="What the whole should be.")
@click.option("--completion", help="How what is given is met; see `multidiff list completions`.")
@click.option(
    "--describe/--no-describe",
    default=None,
    help="Without a prompt, go far beyond what is given by the likeliest caption.",
)
@common.shared_options
@common.medium_options(lambda modality: [*modality.tasks.values(), modality.options])
def command(model: str, given: str, task: str | None, prompt: str, **values: Any) -> None:
    """Fill in what is missing from a file: what is given is kept.

    \b
    multidiff complete shapes scan.ply -n 4
    multidiff complete clips start.mp4 --task predict
    multidiff complete sfx gap.wav --from 1.2 --to 1.8
    """
    common.make("complete", model, prompt, values, {"given": given}, task=task)
