"""multidiff inspect THING: what a media file, sidecar, model or recipe holds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

ABOUT = ("command", "model", "task", "prompt", "given", "seed")
"""What of a sidecar's job is worth a line."""

CAPTIONS = 20
"""Of what a model learned from, the most frequent."""


@click.command(short_help="What a media file, sidecar, model or recipe holds.")
@click.argument("thing")
def command(thing: str) -> None:
    """What a media file, sidecar, model (name or folder) or recipe (name or .yaml) holds."""
    from multidiff import output, recipe, weights
    from multidiff.errors import MultidiffError

    path = Path(thing).expanduser()
    if path.suffix == ".json":
        click.echo(path.read_text("utf-8") if output.read_sidecar(path) else "")
    elif path.is_file() and path.suffix not in (".yaml", ".yml"):
        click.echo(_media(path))
    elif path.suffix in (".yaml", ".yml"):
        click.echo(recipe.load(path).as_yaml())
    else:
        try:
            folder = weights.locate(thing)
        except MultidiffError:
            if thing not in {p.stem for p in recipe.RECIPES.glob("*/*.yaml")}:
                raise
            click.echo(recipe.load(thing).as_yaml())
            return
        click.echo(_model(folder))


def _media(path: Path) -> str:
    """The repr of the value a media file holds (of both, for a video with sound), and the job of its sidecar."""
    from multidiff import output, registry
    from multidiff.errors import InputError, MediaError, did_you_mean

    media = [registry.modality(name).media for name in registry.MODALITIES]
    kinds = [kind for kind in media if path.suffix.lower() in kind.suffixes]
    if not kinds:
        known = [suffix for kind in media for suffix in kind.suffixes]
        raise MediaError(f"{path}: unknown kind of file '{path.suffix}'{did_you_mean(path.suffix, known)}")
    lines, faults = [], []
    for kind in kinds:
        try:
            lines.append(repr(kind.read(path)))
        except MediaError as error:
            faults.append(error)
    if not lines:
        raise faults[-1]
    with suppress(InputError):
        job = output.read_sidecar(path)["job"]
        lines.append("made by: " + ", ".join(f"{key} {job[key]!r}" for key in ABOUT if job.get(key) not in (None, "")))
    return "\n".join(lines)


def _model(folder: Path) -> str:
    """A model's recipe in short: sizes, sampling defaults, options and tasks with their own options."""
    from multidiff import weights

    model = weights.load(folder, device="cpu")
    recipe = model.recipe
    options = recipe.options.model_dump(by_alias=True, exclude_none=True)
    lines = [
        repr(model),
        recipe.about,
        f"diffusion: {recipe.diffusion.schedule.name}, {recipe.diffusion.parameterization.name}",
        f"sampling: {recipe.sample.sampler.name}, {recipe.sample.steps} steps, guidance {recipe.sample.guidance:g}",
        "options: " + ", ".join(f"{k}={v}" for k, v in options.items()),
    ]
    for name, schema in model.modality.tasks.items():
        own = ", ".join(f"--{field.alias or key}" for key, field in schema.model_fields.items())
        lines.append(f"task {name}: {own or 'no options'}")
    if model.captions:
        lines += ["learned from captions like:", *(f"  {caption}" for caption in model.captions[:CAPTIONS])]
    return "\n".join(lines)
