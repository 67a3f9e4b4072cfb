"""Run folders: where a new run goes, and which run a resumed one goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from multidiff import files
from multidiff.errors import InputError
from multidiff.recipe import Recipe

STATE = "state.safetensors"
RUNS = Path("runs")
CHANGEABLE = ("about", "data.root", "sample.", "options.", "train.steps", "train.decay")
"""Keys that may differ between a run and its resumption, besides `train.*_every`: they change no past loss."""


def of_recipe(name: str) -> dict[int, Path]:
    """The numbered run folders of a recipe: runs/<name>-<n>."""
    return {
        int(number): path for path in RUNS.glob(f"{name}-*") if (number := path.name.removeprefix(f"{name}-")).isdigit()
    }


def new(recipe: Recipe, out: str | Path | None) -> Path:
    """The folder of a new run: `out`, or the next number; not yet made. Raises InputError when it holds a run."""
    folder = Path(out).expanduser() if out else RUNS / f"{recipe.name}-{max(of_recipe(recipe.name), default=0) + 1}"
    if (folder / STATE).exists():
        raise InputError(f"{folder}: holds a run already; go on with --resume, or choose another folder with -o")
    return folder


def begun(recipe: Recipe, out: str | Path | None) -> Path:
    """The run to go on with: `out`, or the recipe's newest. Raises InputError when there is none."""
    numbered = of_recipe(recipe.name)
    folder = Path(out).expanduser() if out else numbered[max(numbered)] if numbered else RUNS
    if not (folder / STATE).is_file():
        raise InputError(f"{folder}: no interrupted run to resume ({STATE} is missing); train without --resume")
    return folder


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted keys."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def compare(old: Recipe, new: Recipe, folder: Path) -> None:
    """Raises InputError when a resumed run's recipe differs in something that decides its losses."""
    before, now = leaves(old.as_dict()), leaves(new.as_dict())
    for name in sorted({*before, *now}):
        free = name.startswith(CHANGEABLE) or (name.startswith("train.") and name.endswith("_every"))
        if not free and before.get(name) != now.get(name):
            raise InputError(
                f"{folder}: {name} was {before.get(name)!r} and is now {now.get(name)!r}; "
                f"resume with the run's own recipe, {folder / 'recipe.yaml'}"
            )


def prepared(folder: Path, recipe: Recipe) -> Path:
    """The folder made, with the resolved recipe in it. Raises MultidiffError."""
    files.folder(folder)
    with files.written_whole(folder / "recipe.yaml") as temporary:
        temporary.write_text(f"# multidiff train {folder / 'recipe.yaml'}\n{recipe.as_yaml()}", encoding="utf-8")
    return folder
