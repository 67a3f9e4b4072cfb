"""multidiff convert FILE TARGET: a media file in another format; a cloud also as a mesh or a turntable."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="A media file in another format.")
@click.argument("given", metavar="FILE")
@click.argument("target")
@click.option("--normals", is_flag=True, help="[points] Estimate normals where the file has none.")
@click.option("--least-confidence", type=float, help="[points] Leave out points that are less sure.")
def command(given: str, target: str, normals: bool, least_confidence: float | None) -> None:
    """Write a media file in the format of TARGET's suffix; as .png, a picture of it.

    \b
    multidiff convert scan.pcd scan.ply --normals    any cloud or mesh as points, with normals
    multidiff convert made.ply sure.ply --least-confidence 0.5    of several completions: what most agree on
    multidiff convert scan.ply scan.stl              a watertight mesh round the points
    multidiff convert scan.ply scan.mp4              a turntable, as .gif too
    multidiff convert take.wav take.png              a picture for people
    """
    from multidiff import registry
    from multidiff.errors import InputError, MediaError

    source, out = Path(given).expanduser(), Path(target).expanduser()
    suffix = source.suffix.lower()
    medium = next((m for m in map(registry.modality, registry.MODALITIES) if suffix in m.media.suffixes), None)
    if medium is None:
        raise InputError(f"{source}: no medium has files '{suffix}'")
    media = medium.media.read(source)
    if least_confidence is not None:
        if not hasattr(media, "surest"):
            raise InputError(f"{source}: holds {medium.name}, which tells no confidence; leave --least-confidence out")
        try:
            media = media.surest(least_confidence)
        except MediaError as error:
            raise MediaError(f"{source}: {error}") from None
    if normals:
        if not hasattr(media, "with_normals"):
            raise InputError(f"{source}: holds {medium.name}, which has no normals; leave --normals out")
        media = media.with_normals()
    if out.suffix.lower() == ".png" and "png" not in medium.media.formats:
        medium.plot(media, out, source.name)
    else:
        media.save(out, {"title": source.stem})
    click.echo(out)
