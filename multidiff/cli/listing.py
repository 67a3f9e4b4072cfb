"""multidiff list: models, recipes, and the methods of the core."""

from __future__ import annotations

from pathlib import Path

import click

TABLES = (
    "samplers",
    "grids",
    "schedules",
    "parameterizations",
    "losses",
    "times",
    "couplings",
    "noises",
    "distillations",
    "guidance",
    "completions",
    "editings",
    "operators",
    "posteriors",
)
WHAT = ["models", "recipes", *TABLES]


@click.command(name="list", short_help="Models and recipes at hand; samplers, schedules, losses, guidance.")
@click.argument("what", type=click.Choice(WHAT), required=False, metavar="[WHAT]")
def command(what: str | None) -> None:
    """Models and recipes at hand (models, recipes), or a table of methods with their papers:
    samplers, grids, schedules, parameterizations, losses, times, couplings, noises, guidance, completions,
    editings, operators, posteriors or distillations.
    """
    if what in (None, "models"):
        from multidiff.weights import shipped

        _print("models", [(path.name, _about(path / "recipe.yaml")) for path in shipped()])
    if what in (None, "recipes"):
        from multidiff.recipe import RECIPES

        _print("recipes", [(path.stem, _about(path)) for path in sorted(RECIPES.glob("*/*.yaml"))])
    if what in TABLES:
        from multidiff import core

        table = getattr(core, what.upper())
        _print(what, [(name, f"{method.summary} [{method.paper}]") for name, method in table.items()])


def _about(recipe: Path) -> str:
    """The medium and the line a recipe says of itself; what is wrong where it cannot be read."""
    import yaml

    try:
        values = yaml.safe_load(recipe.read_text("utf-8"))
        return f"{values['modality']}: {values.get('about', '')}"
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        return f"cannot be read ({type(error).__name__}); see `multidiff inspect {recipe}`"


def _print(title: str, rows: list[tuple[str, str]]) -> None:
    click.echo(f"{title}:")
    width = max((len(name) for name, _ in rows), default=0)
    for name, line in rows:
        click.echo(f"  {name:<{width}}  {line}")
