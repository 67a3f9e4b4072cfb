"""multidiff export MODEL: parts of a model that run without multidiff."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from multidiff.modality import Part

SUFFIXES = {"torchscript": ".pt", "onnx": ".onnx"}


@click.command(short_help="Parts of a model as TorchScript or ONNX.")
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(SUFFIXES)),
    default="torchscript",
    show_default=True,
    help="Of the files.",
)
@click.option("-o", "--out", default="out", show_default=True, help="Folder for the files.")
def command(model: str, form: str, out: str) -> None:
    """Parts of a model, for programs without multidiff: <model>-<part>.pt, loaded by torch.jit.load, or .onnx.

    \b
    multidiff export sfx                the vocoder: log-mel (B, 64, F) -> waveforms (B, 256 F), for any B and F
    multidiff export sfx --format onnx  the same; needs pip install 'multidiff[export]'
    """
    from multidiff import files, weights
    from multidiff.errors import InputError
    from multidiff.modality import Exporting

    loaded = weights.load(model, "cpu")
    parts = loaded.modality.parts(loaded.codec) if isinstance(loaded.modality, Exporting) else {}
    if not parts:
        raise InputError(f"{model}: has no part that is of use by itself")
    folder = files.folder(out)
    for name, part in parts.items():
        path = folder / f"{loaded.name}-{name}{SUFFIXES[form]}"
        with files.written_whole(path) as temporary:
            (save_onnx if form == "onnx" else save_torchscript)(part, temporary)
        click.echo(path)


def save_torchscript(part: Part, path: Path) -> None:
    import torch

    with torch.no_grad():
        torch.jit.trace(part.module.eval(), part.example, check_trace=False).save(str(path))


def save_onnx(part: Part, path: Path) -> None:
    """Raises InputError where the packages that write ONNX are not installed."""
    import logging
    import warnings

    import torch

    from multidiff.errors import InputError

    try:
        import onnxscript  # noqa: F401 (torch needs it)
    except ImportError as error:
        raise InputError(f"--format onnx: {error}; pip install 'multidiff[export]'") from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it would tell which packages it could use
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part.module.eval(),
            (part.example,),
            str(path),
            input_names=[part.takes],
            output_names=[part.makes],
            dynamic_shapes=({axis: torch.export.Dim(name) for axis, name in part.axes.items()},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
