"""What sample, complete and edit share: their options, the medium's options, progress, and the run itself."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import click

from multidiff import registry
from multidiff.modality import Spec

COUNT = click.option("-n", "--count", type=click.IntRange(1, 10_000), default=1, help="How many; item i has seed + i.")
INTO = click.option("--into", help="A second prompt, which the first turns into over time.")
SHARED = [
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("-o", "--out", default="out", show_default=True, help="Folder for the results."),
    click.option("--format", "formats", help="File formats, comma-separated."),
    click.option("--plot/--no-plot", default=False, help="Also write a PNG picture of each."),
    click.option("--embed/--no-embed", default=None, help="Prompt and seed into the files' own tags (the default)."),
    click.option("--steps", type=click.IntRange(1, 10_000), help="Sampling steps."),
    click.option("--schedule", help="Another than that of training; see `multidiff list schedules`."),
    click.option("--sampler", help="See `multidiff list samplers`; options as in ddim:eta=0.5."),
    click.option("--grid", help="Times of the steps; see `multidiff list grids`."),
    click.option("--guidance", type=click.FloatRange(0), help="Scale of guidance; 1 is off (cfg++: 0 to 1)."),
    click.option("--guidance-method", help="See `multidiff list guidance`; options as in apg:eta=0.5,radius=2."),
    click.option(
        "--windows",
        type=click.Choice(["averaged", "sliding"]),
        help="Longer than the default: overlapping windows at once, or one after the other.",
    ),
    click.option("--loop/--no-loop", default=None, help="A seamless loop: the end meets the beginning."),
    click.option("--negative", help="What the result should not be."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps."),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto"),
]
SETTINGS = (
    "schedule",
    "steps",
    "sampler",
    "grid",
    "guidance",
    "guidance_method",
    "negative",
    "into",
    "completion",
    "editing",
    "posterior",
    "windows",
    "loop",
    "describe",
    "source",
)


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options every sampling command has."""
    return COUNT(INTO(settings_options(command)))


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the same but for their number and a second prompt."""
    for option in reversed(SHARED):
        command = option(command)
    return command


def _plain_type(annotation: Any) -> type:
    """float for `float | None` and so on."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    return annotation if annotation in (int, float, bool) else str


def medium_options(schemas: Callable[[Any], Iterable[type[Spec]]]) -> Callable[..., Any]:
    """Adds one option for each field of the schemas that `schemas(modality)` gives, over all media.

    Unset options stay out of the result; the model of the right medium validates the rest.
    """
    fields: dict[str, tuple[Any, list[str]]] = {}
    for name in registry.MODALITIES:
        for schema in schemas(registry.modality(name)):
            for key, field in schema.model_fields.items():
                _, media = fields.setdefault(field.alias or key, (field, []))
                if name not in media:
                    media.append(name)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for key, (field, media) in reversed(fields.items()):
            flag, kind = key.replace("_", "-"), _plain_type(field.annotation)
            text = f"[{', '.join(media)}] {field.description or ''}"
            parameter = f"medium_{key}"
            if kind is bool:
                command = click.option(f"--{flag}/--no-{flag}", parameter, default=None, help=text)(command)
            else:
                command = click.option(f"--{flag}", parameter, type=kind, help=text)(command)
        return command

    return decorate


def split_options(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(sampling settings, medium options) that were set among a command's values."""
    settings = {key: values[key] for key in SETTINGS if values.get(key) is not None}
    prefix = "medium_"
    medium = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix) and v is not None}
    return settings, medium


@contextmanager
def progress_bar(label: str, items: int) -> Iterator[Callable[[int, int], None]]:
    """A rich progress bar on stderr over the steps of `items` samples; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task(label, total=None)
        done = 0

        def advance(step: int, total: int) -> None:
            nonlocal done
            bar.update(task, total=items * total, completed=done * total + step)
            done += step == total

        yield advance


def make(
    command: str,
    model: str,
    prompt: str | None,
    values: dict[str, Any],
    files: Mapping[str, str] | None = None,
    each: Sequence[Mapping[str, Any]] | None = None,
    **own: Any,
) -> None:
    """Ask a model, by name, for what a command's values say, and run the jobs.

    `files`: what is given, by the job's field; `each`: what sets the jobs apart, by default their seeds; `own`: the
    command's own fields (task, strength). Without a prompt the recipe's own is taken. Raises InputError for what does
    not fit, before anything is computed.
    """
    from multidiff import job as work
    from multidiff import weights

    loaded = weights.load(model, values["device"], values["precision"])
    settings, options = split_options(values)
    task = loaded.task_of(own.pop("task"), options) if "task" in own else ""
    resolved = loaded.settings(task=task, prompt=prompt, **settings, **options)
    for field, path in (files or {}).items():
        work.read(path, loaded)
        own |= {field: path, f"{field}_sha256": work.digest(path)}
    jobs = work.jobs(
        each or work.numbered(loaded, command, values["count"], values["seed"]),
        command=command,
        model=model,
        prompt=resolved.sampling.prompt,
        task=task,
        settings=resolved.sampling.model_copy(update={"prompt": ""}),  # the job's own is the one
        options=resolved.values,
        precision=values["precision"],
        **own,
    )
    run(jobs, loaded, values)


def run(jobs: Sequence[Any], model: Any, values: dict[str, Any]) -> None:
    """Run jobs with a progress bar and print the paths of what they made, also when one of them fails."""
    from multidiff import job as work

    formats = work.formats_of(model, values["formats"])
    embed = values["embed"] is not False
    paths: list[Path] = []
    try:
        items = max(len(jobs), 1 + len(jobs[0].others))
        with progress_bar(f"{jobs[0].command} {model.name}", items) as progress:
            for path in work.make(jobs, model, values["out"], formats, values["plot"], embed, progress):
                paths.append(path)
    finally:
        for path in paths:
            click.echo(path)
