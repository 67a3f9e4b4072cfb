"""multidiff distill MODEL [KEY=VALUE ...]."""

from __future__ import annotations

import click


@click.command(short_help="Teach a model to sample in few steps.")
@click.argument("model")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--method",
    default="progressive",
    show_default=True,
    help="See `multidiff list distillations`; options as in progressive:substeps=8.",
)
@click.option("--steps", type=click.IntRange(1, 10_000), default=4, show_default=True, help="The student's.")
@click.option("--guidance", type=click.FloatRange(0), help="Scale folded into the student; by default the model's.")
@click.option("-o", "--out", help="Run folder; by default runs/<name>-<number>.")
@click.option("--dry-run", is_flag=True, help="Build everything, run one step, print shapes, parameters, memory.")
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="Stop cleanly after so long.")
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    overrides: tuple[str, ...],
    method: str,
    steps: int,
    guidance: float | None,
    out: str | None,
    dry_run: bool,
    max_minutes: float | None,
    device: str,
) -> None:
    """Train a student of MODEL that samples in few steps; its run folder is a model.

    It learns on the data of MODEL's own recipe; changes are written key=value. An interrupted run goes on with
    `multidiff train RUN --resume`.

    \b
    multidiff distill sfx --steps 4
    multidiff distill shapes --method dmd -o runs/fast data.root=~/scans train.steps=5000
    """
    from multidiff.train.distill import student_recipe
    from multidiff.train.run import train

    recipe = student_recipe(model, method, steps, guidance, overrides)
    run = train(recipe, out=out, dry_run=dry_run, max_minutes=max_minutes, device=device)
    if run is not None:
        click.echo(run)
