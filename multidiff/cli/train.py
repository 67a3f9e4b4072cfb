"""multidiff train RECIPE [KEY=VALUE ...]."""

from __future__ import annotations

import click


@click.command(short_help="Train a recipe on your own files.")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", help="Run folder; by default runs/<name>-<number>.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint.")
@click.option("--dry-run", is_flag=True, help="Build everything, run one step, print shapes, parameters, memory.")
@click.option("--overfit", type=click.IntRange(1), help="Learn so few items by heart: the self-test; train.overfit=N.")
@click.option("--max-minutes", type=click.FloatRange(0, min_open=True), help="Stop cleanly after so long.")
@click.option("--device", default="auto", show_default=True)
def command(
    recipe: str,
    overrides: tuple[str, ...],
    out: str | None,
    resume: bool,
    dry_run: bool,
    overfit: int | None,
    max_minutes: float | None,
    device: str,
) -> None:
    """Train a recipe, given by name or path, with changes written key=value.

    \b
    multidiff train recipes/audio/sfx.yaml data.root=~/sounds train.steps=20000
    multidiff train shapes size=base data.root=~/scans --max-minutes 60
    multidiff train sfx data.root=~/sounds --overfit 1 --max-minutes 5
    multidiff train runs/sfx-1 --resume
    """
    from multidiff import recipe as recipes
    from multidiff.train.run import train

    path = recipes.find(recipe)
    if overfit is not None:
        overrides = (*overrides, f"train.overfit={overfit}")
    if resume and out is None and path.name == "recipe.yaml":
        out = str(path.parent)
    run = train(
        recipes.load(path, overrides), out=out, resume=resume, dry_run=dry_run, max_minutes=max_minutes, device=device
    )
    if run is not None:
        click.echo(run)
