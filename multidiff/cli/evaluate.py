"""multidiff eval MODEL --data DIR."""

from __future__ import annotations

import click

CODEC = "codec"
"""What --task says to measure the codec alone."""


@click.command(name="eval", short_help="Measure a model against real files.")
@click.argument("model")
@click.option("--data", "roots", multiple=True, required=True, help="Folder of real files; may be repeated.")
@click.option("--task", help="Measure completions of this task (see `multidiff inspect MODEL`), or the codec alone.")
@click.option("-n", "--count", type=click.IntRange(4), default=32, show_default=True, help="Files to measure with.")
@click.option("--hypotheses", type=click.IntRange(1), default=4, show_default=True, help="Completions of each part.")
@click.option("--captions/--no-captions", default=None, help="Tell the captions; by default only without --task.")
@click.option("--judge", default="", help="[audio, video] A trained classifier; by default the shipped one.")
@click.option(
    "--extend", type=click.FloatRange(0, min_open=True), help="[audio] With --task extend: seconds to append."
)
@click.option("--split", default="", help="Which files: val, test or all; by default val, and all of other data.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Sampling steps.")
@click.option("--guidance", type=click.FloatRange(0), help="Scale of guidance; 1 is off.")
@click.option("--windows", type=click.Choice(["averaged", "sliding"]), help="As in `multidiff sample`.")
@click.option("--loop/--no-loop", default=None, help="Samples are loops; the figures say how well their ends meet.")
@click.option("-o", "--out", help="Folder for the report and its page; by default out/eval-<model>[-<task>].")
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    roots: tuple[str, ...],
    task: str | None,
    count: int,
    hypotheses: int,
    captions: bool | None,
    judge: str,
    extend: float | None,
    split: str,
    seed: int,
    steps: int | None,
    guidance: float | None,
    windows: str | None,
    loop: bool | None,
    out: str | None,
    device: str,
) -> None:
    """Measure a model against real, held-out files: samples of their captions, completions of their parts, or what its
    codec loses of them.

    Prints a table (each figure beside that of real files, and of sets that are known to be wrong); writes report.json
    and index.html.

    \b
    multidiff eval shapes --data ~/shapes -n 32
    multidiff eval shapes --data ~/shapes --task complete --hypotheses 4
    multidiff eval sfx --data ~/sounds --task extend --extend 20
    multidiff eval sfx --data ~/sounds --task codec
    """
    from multidiff import evaluate, weights
    from multidiff.cli.common import progress_bar

    loaded = weights.load(model, device)
    out = out or "-".join(filter(None, ["out/eval", loaded.name, task]))
    asked = {"steps": steps, "guidance": guidance, "windows": windows, "loop": loop}
    values = {key: value for key, value in asked.items() if value is not None}
    told = captions if captions is not None else task is None
    trial = {"extend": extend} if extend is not None else {}
    report: evaluate.Report | evaluate.CompletionReport | evaluate.CodecReport
    with progress_bar(f"eval {loaded.name}", 1) as progress:
        if task is None:
            report = evaluate.evaluate(loaded, roots, out, count, split, seed, told, judge, progress, **values)
        elif task == CODEC:
            report = evaluate.evaluate_codec(loaded, roots, out, count, split, judge, progress)
        else:
            report = evaluate.evaluate_completion(
                loaded, task, roots, out, count, hypotheses, split, seed, told, trial, progress, **values
            )
    click.echo(report.table())
    click.echo(f"{out}/index.html")
