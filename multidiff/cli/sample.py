"""multidiff sample MODEL PROMPT: media from a prompt, or again from a sidecar."""

from __future__ import annotations

from typing import Any

import click

from multidiff.cli import common


@click.command(short_help="Make media from a prompt.")
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("--from", "sidecar", help="Make the sample of this sidecar again (a .json, or the file beside it).")
@common.shared_options
@common.medium_options(lambda modality: [modality.options])
def command(model: str | None, prompt: str | None, sidecar: str | None, **values: Any) -> None:
    """Make media from a prompt.

    \b
    multidiff sample sfx "a dog barking" -n 4 --seconds 4 --seed 7 -o out/
    multidiff sample --from out/sfx_a-dog-barking_7.json
    """
    from multidiff import job as work
    from multidiff import weights

    if sidecar:
        if model:
            raise click.UsageError("--from takes everything from the sidecar; leave MODEL and PROMPT out")
        again = work.from_sidecar(sidecar)
        loaded = weights.load(again.model, values["device"], again.precision)
        common.run([again], loaded, values)
        return
    if not model:
        raise click.UsageError("give a MODEL (see `multidiff list`), or --from a sidecar")
    loaded = weights.load(model, values["device"], values["precision"])
    settings, options = common.split_options(values)
    resolved = loaded.settings(**settings, **options)
    jobs = [
        work.Job(
            command="sample",
            model=model,
            prompt=prompt if prompt is not None else resolved.sampling.prompt,
            seed=values["seed"] + i,
            settings=resolved.sampling,
            options=resolved.options.model_dump(mode="json", by_alias=True),
            precision=values["precision"],
        )
        for i in range(values["count"])
    ]
    common.run(jobs, loaded, values)
