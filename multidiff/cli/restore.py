"""multidiff restore MODEL FILE --operator NAME: what was there before a file was degraded."""

from __future__ import annotations

from typing import Any

import click

from multidiff.cli import common


@click.command(short_help="Undo a blur or a loss of resolution.")
@click.argument("model")
@click.argument("given", metavar="FILE")
@click.option("--operator", required=True, help="What was done to it, in model space; see `multidiff list operators`.")
@click.option("--posterior", help="How the file is met; see `multidiff list posteriors`.")
@click.option("--prompt", default="", help="What the file should be.")
@common.shared_options
@common.medium_options(lambda modality: [modality.options])
def command(model: str, given: str, operator: str, prompt: str, **values: Any) -> None:
    """Sample what would be measured as the file was: blurred, or averaged over blocks, in the model's own space.

    \b
    multidiff restore sfx muffled.wav --operator averaged:factor=2 --posterior pigdm:std=0.1
    """
    common.make("restore", model, prompt, values, {"given": given}, operator=operator)
