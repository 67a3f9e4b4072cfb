"""multidiff morph MODEL FIRST LAST: what lies between two files."""

from __future__ import annotations

from typing import Any

import click

from multidiff.cli import common


@click.command(short_help="Lead from one file to another.")
@click.argument("model")
@click.argument("first")
@click.argument("last")
@click.option(
    "--frames", type=click.IntRange(2, 1000), default=8, show_default=True, help="Results, both ends included."
)
@click.option("--prompt", default="", help="What both files are.")
@common.settings_options
def command(model: str, first: str, last: str, frames: int, prompt: str, **values: Any) -> None:
    """Lead from one file to another: both are inverted to noise, and what lies between the noises is sampled.

    The ends are what the model makes of the files, cut to what both have: the shorter length, the fewer points.

    \b
    multidiff morph shapes chair.ply stool.ply --frames 8 --plot
    """
    from multidiff.model import INVERSION

    values |= {key: value for key, value in INVERSION.items() if values[key] is None}
    each = [{"share": i / (frames - 1), "seed": values["seed"]} for i in range(frames)]
    common.make("morph", model, prompt, values, {"given": first, "last": last}, each)
