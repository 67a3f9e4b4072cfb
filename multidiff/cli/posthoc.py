"""multidiff posthoc RUN --std S: a training run's weights, averaged over another length."""

from __future__ import annotations

import click


@click.command(short_help="Average a run's weights over another length.")
@click.argument("run")
@click.option("--std", type=float, required=True, help="Width of the average as a share of the training, 0 to 0.28.")
@click.option("--step", type=click.IntRange(1), help="Where it ends; by default the last step that was kept.")
@click.option("-o", "--out", required=True, help="Folder for the model.")
def command(run: str, std: float, step: int | None, out: str) -> None:
    """Build the average of a run's weights of any length, afterwards (Karras et al. 2024).

    \b
    multidiff train shapes train.power_ema=[0.05,0.1] -o runs/shapes
    multidiff posthoc runs/shapes --std 0.08 -o out/shapes-0.08
    """
    from multidiff.train.posthoc import rebuilt

    click.echo(rebuilt(run, std, step).save(out))
