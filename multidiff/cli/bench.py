"""multidiff bench: figures of multidiff beside theory and peers."""

from __future__ import annotations

import click


@click.command(name="bench", short_help="Measure samplers against theory and peers.")
@click.argument("what", type=click.Choice(["core", "cost"]))
def command(what: str) -> None:
    """core: for each sampler its order of convergence, its error by evaluations and its difference from diffusers and
    k-diffusion; for the stochastic ones, how far their samples lie from the law of the data.

    cost: what a step costs besides the denoiser, beside diffusers'.
    """
    if what == "cost":
        from multidiff.bench import cost

        for line in cost.markdown(cost.rows()):
            click.echo(line)
        return
    from multidiff.bench import core, law

    for line in core.markdown(core.rows()):
        click.echo(line)
    click.echo()
    for line in law.markdown():
        click.echo(line)
