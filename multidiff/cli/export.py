"""multidiff export MODEL: parts of a model that run without multidiff."""

from __future__ import annotations

import click

from multidiff.errors import InputError


@click.command(short_help="Parts of a model as TorchScript.")
@click.argument("model")
@click.option("-o", "--out", default="out", show_default=True, help="Folder for the files.")
def command(model: str, out: str) -> None:
    """Parts of a model as TorchScript, for programs without multidiff: <model>-<part>.pt, loaded by torch.jit.load.

    \b
    multidiff export sfx                the vocoder: log-mel (B, 64, F) -> waveforms (B, 256 F)
    """
    from multidiff import files, weights
    from multidiff.modality import Scripted

    loaded = weights.load(model, "cpu")
    found = loaded.modality.scripts(loaded.codec) if isinstance(loaded.modality, Scripted) else {}
    if not found:
        raise InputError(f"{model}: has no part that is of use by itself")
    folder = files.folder(out)
    for name, script in found.items():
        path = folder / f"{loaded.name}-{name}.pt"
        with files.written_whole(path) as temporary:
            script.save(str(temporary))
        click.echo(path)
