"""multidiff score MODEL FILE...: how usual files are for a model."""

from __future__ import annotations

import click

from multidiff.errors import MediaError


@click.command(short_help="How usual files are for a model.")
@click.argument("model")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--prompt", default="", help="What the files should be.")
@click.option("--likelihood", is_flag=True, help="Also the log-likelihood by the probability flow; slow.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
def command(model: str, files: tuple[str, ...], prompt: str, likelihood: bool, seed: int, device: str) -> None:
    """How usual files are for a model: its bound in bits per element of model space, and an anomaly score.

    Both are higher where a file is less usual; compare files of about the same length.

    \b
    multidiff score sfx bark.wav rain.wav --prompt "a dog barking"
    """
    from multidiff import job as work
    from multidiff import measure, weights

    loaded = weights.load(model, device)
    heading, bad = f"{'bits':>8} {'anomaly':>8}{'   nats' if likelihood else ''}  file", []
    for file in files:
        try:
            found = measure.score(loaded, work.read(file, loaded), prompt, seed, likelihood)
        except MediaError as error:  # the others still count
            bad.append(str(error))
            continue
        nats = "" if found.log_likelihood is None else f" {found.log_likelihood:10.1f}"
        click.echo(f"{heading}\n{found.bits:8.3f} {found.anomaly:8.3f}{nats}  {file}".removeprefix("\n"))
        heading = ""
    if bad:
        raise MediaError("\n".join(bad))
