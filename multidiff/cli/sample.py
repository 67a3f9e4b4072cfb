"""multidiff sample MODEL PROMPT: media from a prompt, or again from a sidecar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from multidiff.cli import common
from multidiff.errors import InputError


@click.command(short_help="Make media from a prompt.")
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("--from", "sidecar", help="Make the sample of this sidecar again (a .json, or the file beside it).")
@click.option(
    "--best-of", type=click.IntRange(1, 1000), default=1, help="[audio] Candidates of which the scorer picks the best."
)
@common.shared_options
@common.medium_options(lambda modality: [modality.options])
def command(model: str | None, prompt: str | None, sidecar: str | None, **values: Any) -> None:
    """Make media from a prompt.

    \b
    multidiff sample sfx "a dog barking" -n 4 --seconds 4 --seed 7 -o out/
    multidiff sample --from out/sfx_a-dog-barking_7.json
    """
    if sidecar:
        _again(sidecar, values)
        return
    if not model:
        raise click.UsageError("give a MODEL (see `multidiff list`), or --from a sidecar")
    common.make("sample", model, prompt, values, best_of=values["best_of"])


AGAIN = ("sidecar", "out", "formats", "plot", "embed", "device")
"""What may be asked beside --from."""


def _again(sidecar: str, values: dict[str, Any]) -> None:
    """Make the sample of a sidecar again, in the formats it was written in."""
    from multidiff import job as work
    from multidiff import output, weights

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is ParameterSource.COMMANDLINE and parameter.name not in AGAIN:
            raise click.UsageError(f"--from takes everything from the sidecar; leave {parameter.opts[0]} out", context)
    record = output.read_sidecar(sidecar)
    again = work.from_record(record, sidecar)
    model = weights.load(again.model, values["device"], again.precision)
    written = [str(name).removeprefix(f"{Path(sidecar).stem}.") for name in record["files"]]
    before = ",".join(suffix for suffix in written if suffix in model.modality.media.formats)
    if record["made"].get("weights", model.fingerprint) != model.fingerprint:
        click.echo(f"note: {again.model} has other weights than when {sidecar} was written", err=True)
    values["formats"] = values["formats"] or before or None
    values["embed"] = record.get("embed") if values["embed"] is None else values["embed"]
    try:
        common.run([again], model, values)
    except InputError as error:
        raise type(error)(f"{sidecar}: {error}") from None
