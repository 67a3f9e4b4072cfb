"""multidiff grid MODEL --steps N: a copy of a model with the times of few steps that suit it best."""

from __future__ import annotations

import click


@click.command(short_help="The times of few steps that suit a model best.")
@click.argument("model")
@click.option("--steps", type=click.IntRange(1, 100), default=8, show_default=True)
@click.option("--prompt", "prompts", multiple=True, help="What it is measured on; may be repeated.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("-o", "--out", help="Folder for the copy; by default out/<model>-<steps>-steps.")
@click.option("--device", default="auto", show_default=True)
def command(model: str, steps: int, prompts: tuple[str, ...], seed: int, out: str | None, device: str) -> None:
    """Choose the times of so many steps by the model's own local errors, and save them with a copy of it.

    \b
    multidiff grid sfx --steps 8 -o out/sfx-8
    multidiff sample out/sfx-8 "a dog barking"
    """
    from multidiff import measure, weights

    loaded = weights.load(model, device)
    loaded.recipe = measure.with_grid(loaded, steps, prompts or (loaded.recipe.sample.prompt,), seed)
    click.echo(f"times: {loaded.recipe.sample.grid.options['times']}")
    card = weights.locate(model) / "README.md"
    about = card.read_text("utf-8") if card.is_file() else None
    click.echo(loaded.save(out or f"out/{loaded.name}-{steps}-steps", about))
