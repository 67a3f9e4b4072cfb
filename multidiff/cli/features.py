"""multidiff features MODEL FILE...: what a model's network makes of files, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from multidiff.errors import InputError


@click.command(short_help="What a model's network makes of files, as arrays.")
@click.argument("model")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--layer", "layers", multiple=True, help="May be repeated; without one the layers are listed.")
@click.option("--log-snr", default=2.0, show_default=True, help="How noisy the files are made: log(alpha/sigma).")
@click.option("--prompt", default="", help="What the files are.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--out", default="out", show_default=True, help="Folder for FILE.npz, an array for each layer.")
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    files: tuple[str, ...],
    layers: tuple[str, ...],
    log_snr: float,
    prompt: str,
    seed: int,
    out: str,
    device: str,
) -> None:
    """What a model's network makes of files at a noise level, to classify or compare them by: FILE.npz for each.

    \b
    multidiff features sfx
    multidiff features sfx bark.wav rain.wav --layer blocks.3 --log-snr 1
    """
    import numpy as np

    from multidiff import files as disk
    from multidiff import job as work
    from multidiff import measure, weights
    from multidiff.core.features import layers as names

    loaded = weights.load(model, device)
    if not layers or not files:
        if layers or files:
            raise click.UsageError(f"give files and --layer; `multidiff features {model}` lists the layers")
        click.echo("\n".join(names(loaded.denoiser())))
        return
    folder = disk.folder(out)
    targets = [folder / f"{Path(file).stem}.npz" for file in files]
    if twice := [path for path in targets if targets.count(path) > 1]:
        raise InputError(f"{twice[0]}: would hold the features of two files; give them by turns, each its own -o")
    for file, path in zip(files, targets, strict=True):
        found = measure.features(loaded, work.read(file, loaded), layers, log_snr, prompt, seed)
        arrays: dict[str, Any] = {name: value[0].float().cpu().numpy() for name, value in found.items()}
        with disk.written_whole(path) as temporary:
            np.savez(temporary, **arrays)
        click.echo(path)
