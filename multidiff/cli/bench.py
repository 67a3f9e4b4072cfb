"""multidiff bench: figures of multidiff beside theory, peers and teachers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import click

from multidiff.cli import common


def _set_threads(context: click.Context, option: click.Parameter, count: int | None) -> None:
    if count:
        import torch

        torch.set_num_threads(count)


_threads = click.option(
    "--threads",
    type=click.IntRange(1),
    callback=_set_threads,
    expose_value=False,
    help="Of the CPU; as many as torch takes by itself.",
)


def _training(
    count: int, steps: int, most: int, of: str = "Samples of each."
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """What an equal-time training can be told; its defaults, the most steps that a peer can take, what is counted."""
    options = [
        click.option("--data", "roots", multiple=True, default=("synth",), show_default=True, help="Folder of files."),
        click.option(
            "--minutes", type=click.FloatRange(min=0, min_open=True), default=2.0, show_default=True, help="Of CPU."
        ),
        click.option("-n", "--count", type=click.IntRange(2), default=count, show_default=True, help=of),
        click.option("--steps", type=click.IntRange(1, most), default=steps, show_default=True, help="Sampling steps."),
        _threads,
    ]

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.group(name="bench", short_help="Measure samplers against theory and peers, students against teachers.")
def command() -> None:
    """Tables in Markdown, each made by one command."""


@command.command()
def core() -> None:
    """For each sampler its order of convergence, its error by evaluations and its difference from diffusers and
    k-diffusion; for the stochastic ones, how far their samples lie from the law of the data."""
    from multidiff.bench import core, law

    for line in chain(core.markdown(core.rows()), [""], law.markdown()):
        click.echo(line)


@command.command()
def cost() -> None:
    """What a step costs besides the denoiser, beside diffusers'."""
    from multidiff.bench import cost

    for line in cost.markdown(cost.rows()):
        click.echo(line)


@command.command()
@_threads
def audio() -> None:
    """Each part of making a sound, and the whole, beside AudioLDM's of diffusers and transformers."""
    from multidiff.bench import audio

    for line in audio.markdown(audio.rows()):
        click.echo(line)


@command.command()
@_threads
def video() -> None:
    """Forward and training step of the video U-Net beside video-diffusion-pytorch's and diffusers' at like parameters,
    and what takes its time."""
    from multidiff.bench import video

    for line in chain(video.markdown(video.rows()), [""], video.profiles()):
        click.echo(line)


@command.command()
@_threads
def points() -> None:
    """Forward and training step of the point transformer beside Point-E's at like parameters, whole completions by
    their number of points, and our distances of clouds beside torch.cdist's and POT's."""
    from multidiff import weights
    from multidiff.bench import points, points_sampling

    shapes = weights.load(points_sampling.MODEL, "cpu")
    completions = points_sampling.markdown(shapes, points_sampling.rows(shapes))
    distances = points.distances_markdown(points.distances())
    for line in chain(points.markdown(points.rows()), [""], completions, [""], distances):
        click.echo(line)


@command.command()
@_training(count=16, steps=50, most=1000)
def video_training(roots: tuple[str, ...], minutes: float, count: int, steps: int) -> None:
    """The video U-Net and video-diffusion-pytorch's trained for the same CPU minutes on the same clips, then judged.

    \b
    multidiff bench video-training --data ../shared/data/video/lpc_sprites --minutes 60 -n 64 --threads 1
    """
    from multidiff.bench import video_training as bench

    found = bench.rows(roots, 60 * minutes, count, steps, say=lambda line: click.echo(line, err=True))
    for line in bench.markdown(found, steps):
        click.echo(line)


@command.command()
@_training(count=64, steps=100, most=200)
def points_training(roots: tuple[str, ...], minutes: float, count: int, steps: int) -> None:
    """The point transformer and diffusion-point-cloud's trained for the same CPU minutes on the same shapes, then
    judged.

    \b
    multidiff bench points-training --data ../shared/data/points/furniture --minutes 5 --threads 1
    """
    from multidiff.bench import points_training as bench

    found = bench.rows(roots, 60 * minutes, count, steps, say=lambda line: click.echo(line, err=True))
    for line in bench.markdown(found, steps):
        click.echo(line)


@command.command()
@_training(count=32, steps=16, most=1000, of="Held-out shapes to complete.")
def points_completion(roots: tuple[str, ...], minutes: float, count: int, steps: int) -> None:
    """The point transformer trained to complete parts as a denoiser and as a regressor, for the same CPU minutes on the
    same parts, then judged beside simpler ways.

    \b
    multidiff bench points-completion --data ../shared/data/points/furniture --minutes 30 --threads 1
    """
    from multidiff.bench import points_completion as bench

    found = bench.rows(roots, 60 * minutes, count, steps, say=lambda line: click.echo(line, err=True))
    for line in bench.markdown(found, steps):
        click.echo(line)


@command.command()
@click.argument("teacher")
@click.argument("students", nargs=-1)
@click.option("--data", "roots", multiple=True, required=True, help="Folder of real files; may be repeated.")
@click.option("-n", "--count", type=click.IntRange(4), default=200, show_default=True, help="Samples of each.")
@click.option("--split", default="train", show_default=True, help="Which of the files: train, val or test.")
@click.option("--many", type=click.IntRange(1), default=50, show_default=True, help="Steps of the teacher.")
@click.option("--few", type=click.IntRange(1), multiple=True, default=(4, 1), show_default=True, help="Steps of all.")
@click.option("--device", default="auto", show_default=True)
@common.medium_options(lambda modality: [modality.options])
def distill(
    teacher: str,
    students: tuple[str, ...],
    roots: tuple[str, ...],
    count: int,
    split: str,
    many: int,
    few: tuple[int, ...],
    device: str,
    **values: Any,
) -> None:
    """Students (run folders) in few steps beside their teacher in many and in few, by the medium's metrics.

    \b
    multidiff bench distill shapes runs/shapes-4step-1 --data ../shared/data/points/furniture --points 512
    """
    from multidiff import weights
    from multidiff.bench import distill

    models = {name: weights.load(name, device) for name in (teacher, *students)}
    runs = [
        (teacher, models[teacher], many),
        *((name, model, steps) for name, model in models.items() for steps in few),
    ]
    real = distill.references(models[teacher], roots, split, count)
    _, options = common.split_options(values)
    with common.progress_bar("bench distill", 1) as progress:
        for line in distill.markdown(distill.rows(runs, real, progress, **options)):
            click.echo(line)


@command.command()
@click.argument("model")
@click.option("--data", "roots", multiple=True, required=True, help="Folder of real files; may be repeated.")
@click.option("-n", "--count", type=click.IntRange(4), default=40, show_default=True, help="Samples of each row.")
@click.option("--steps", type=click.IntRange(1), default=4, show_default=True, help="Sampling steps.")
@click.option("--best-of", type=click.IntRange(2), default=4, show_default=True, help="Candidates for each sample.")
@click.option("--device", default="auto", show_default=True)
def scorer(model: str, roots: tuple[str, ...], count: int, steps: int, best_of: int, device: str) -> None:
    """What the scorer finds among held-out files, and how much better the judge likes the candidates that it picks.

    \b
    multidiff bench scorer sfx --data ../shared/data/audio/esc10
    """
    from multidiff import weights
    from multidiff.bench import scorer

    with common.progress_bar("bench scorer", 1) as progress:
        for line in scorer.tables(weights.load(model, device), roots, count, (1, best_of), steps, progress):
            click.echo(line)
