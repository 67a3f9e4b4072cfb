"""multidiff data synth|check|pack: make, check and prepare data sets."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import click


@click.group(short_help="Make, pack and check data sets.")
def command() -> None:
    """Make, check and prepare data sets."""


@command.command()
@click.argument("modality")
@click.option("-n", "--count", type=click.IntRange(1), default=20, show_default=True)
@click.option("-o", "--out", required=True, help="Folder for the files and their metadata.csv.")
@click.option("--format", "suffix", help="File format; by default the medium's first.")
def synth(modality: str, count: int, out: str, suffix: str | None) -> None:
    """Write procedural, captioned files of a medium: audio, video or points."""
    from multidiff import registry
    from multidiff.errors import InputError, did_you_mean
    from multidiff.files import folder, written_whole

    medium = registry.modality(modality)
    formats = medium.media.formats
    suffix = (suffix or formats[0]).lower().lstrip(".")
    if suffix not in formats:
        raise InputError(f"--format {suffix}: {modality} cannot be written so{did_you_mean(suffix, formats)}")
    target = folder(out)
    if any(target.iterdir()):
        raise InputError(f"{target}: is not empty; choose a new folder with -o")
    rows = []
    for index, example in enumerate(
        islice(medium.examples(medium.data_spec.model_validate({"root": "synth"}), "train"), count)
    ):
        name = f"{index:05d}.{suffix}"
        example.media.save(target / name)
        rows.append({"file_name": name, "text": example.text, "label": example.label})
    with written_whole(target / "metadata.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["file_name", "text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    click.echo(target / "metadata.csv")


@command.command()
@click.argument("modality")
@click.argument("root")
def check(modality: str, root: str) -> None:
    """Read every file of a data set and list the bad ones; exit code 2 when nothing is left."""
    from multidiff import registry
    from multidiff.dataset import SKIPPED
    from multidiff.errors import InputError

    medium = registry.modality(modality)
    SKIPPED.items.clear()
    data = medium.data_spec.model_validate({"root": root})
    counts = {}
    for split in ("train", "val", "test"):
        counts[split] = sum(1 for _ in medium.examples(data, split))
    for source, reason in SKIPPED.items:
        click.echo(f"bad: {reason if reason.startswith(source) else f'{source}: {reason}'}")
    found = ", ".join(f"{count} {split}" for split, count in counts.items())
    click.echo(f"{Path(root)}: {found}, {len(SKIPPED)} bad")
    if not any(counts.values()):
        raise InputError(f"{root}: no usable {modality} file is left")


@command.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", help="Folder of the packs; by default the cache.")
def pack(recipe: str, overrides: tuple[str, ...], out: str | None) -> None:
    """Prepare a recipe's data once: tensors and text embeddings in one file, to train from anywhere."""
    from multidiff import recipe as recipes
    from multidiff import weights
    from multidiff.files import folder
    from multidiff.train import pack as packs

    chosen = recipes.load(recipe, overrides)
    target = folder(out) if out else packs.cache()
    click.echo(packs.prepare(chosen, weights.build(chosen).codec, target / f"{chosen.name}-{packs.key(chosen)}.pack"))
