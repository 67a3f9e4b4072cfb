"""multidiff bench: figures of multidiff beside theory and peers."""

from __future__ import annotations

import click


@click.command(name="bench", short_help="Measure samplers against theory and peers.")
@click.argument("what", type=click.Choice(["core"]))
def command(what: str) -> None:
    """core: for each sampler its order of convergence, its error by evaluations and its difference from diffusers."""
    from multidiff.bench import core

    for line in core.markdown(core.rows()):
        click.echo(line)
