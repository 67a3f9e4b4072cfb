"""multidiff eval MODEL --data DIR."""

from __future__ import annotations

import click


@click.command(name="eval", short_help="Measure a model against real files.")
@click.argument("model")
@click.option("--data", "roots", multiple=True, required=True, help="Folder of real files; may be repeated.")
@click.option("-n", "--count", type=click.IntRange(4), default=32, show_default=True, help="Samples to make.")
@click.option("--split", default="val", show_default=True, help="Which of the files: val or test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Sampling steps.")
@click.option("-o", "--out", help="Folder for the report and its page; by default out/eval-<model>.")
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    roots: tuple[str, ...],
    count: int,
    split: str,
    seed: int,
    steps: int | None,
    out: str | None,
    device: str,
) -> None:
    """Measure a model's samples against real, held-out files of the same captions.

    Prints a table (each figure beside its real-against-real floor); writes report.json and index.html.
    """
    from multidiff import evaluate, weights
    from multidiff.cli.common import progress_bar

    loaded = weights.load(model, device)
    out = out or f"out/eval-{loaded.name}"
    values = {} if steps is None else {"steps": steps}
    with progress_bar(f"eval {loaded.name}", 1) as progress:
        report = evaluate.evaluate(loaded, roots, out, count, split, seed, progress, **values)
    click.echo(report.table())
    click.echo(f"{out}/index.html")
