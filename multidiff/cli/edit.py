"""multidiff edit MODEL FILE [PROMPT]: a file changed towards a prompt, or varied."""

from __future__ import annotations

from typing import Any

import click

from multidiff.cli import common


@click.command(short_help="Change a file towards a prompt, or vary it.")
@click.argument("model")
@click.argument("given", metavar="FILE")
@click.argument("prompt", default="")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.6,
    show_default=True,
    help="Share of the noise process that is gone through again: 1 forgets the file.",
)
@click.option("--editing", help="See `multidiff list editings`.")
@click.option("--source", help="What the file is, for --editing inversion.")
@common.shared_options
@common.medium_options(lambda modality: [modality.options])
def command(model: str, given: str, prompt: str, strength: float, **values: Any) -> None:
    """Change a file towards a prompt: noise it part of the way and sample from there (SDEdit), or invert it.

    Without a prompt the results are variations of the file.

    \b
    multidiff edit sfx in.wav --strength 0.5 -n 4
    multidiff edit sfx in.wav "rain on a tin roof" --strength 0.6
    multidiff edit clips in.mp4 "a man walking up" --editing inversion --source "a man walking down"
    """
    common.make("edit", model, prompt, values, {"given": given}, strength=strength)
