"""Weights on disk: finding a model, building one from its recipe, filling it, moving it.

Weights are safetensors only; every tensor must be there and fit, or one clear error says which does not.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import nn

from multidiff import recipe as recipes
from multidiff import registry
from multidiff.classifier import PromptClassifier
from multidiff.errors import InputError, ModelError, RecipeError, did_you_mean
from multidiff.model import Model
from multidiff.recipe import Recipe
from multidiff.trained import FORMAT

ASSETS = Path(__file__).parent.parent / "assets"


def shipped() -> list[Path]:
    """Folders of the models in assets/models."""
    return sorted(path.parent for path in (ASSETS / "models").glob("*/model.safetensors"))


def of_medium(medium: str) -> list[str]:
    """Names of the shipped models that make a medium."""
    told = {path.name: _recipe(path) for path in shipped()}
    makes = ("denoiser", "distillation")
    return [n for n, r in told.items() if r.get("modality") == medium and r["train"]["objective"] in makes]


def _recipe(folder: Path) -> dict[str, Any]:
    """What a model's recipe says; nothing where it cannot be read."""
    try:
        values = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def locate(name: str | Path) -> Path:
    """The folder of a model given by name, folder or run folder. Raises ModelError."""
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path / "model.safetensors"):
        return path
    for candidate in shipped():
        if candidate.name == str(name):
            return candidate
    if os.path.isdir(path):
        raise ModelError(f"{path}: holds no model.safetensors; give a model's or a training run's folder")
    if os.path.isfile(path):
        raise ModelError(f"{path}: is a file; give a model's name, or the folder of a model or training run")
    raise ModelError(f"{name}: no such model{did_you_mean(str(name), [path.name for path in shipped()])}")


def build(recipe: Recipe, device: str | torch.device = "cpu", seed: int | None = None) -> Model:
    """A new model from a recipe, its weights random from `seed` (the recipe's by default).

    The codec's weights come from `codec.weights` where the recipe names them; a denoiser is never built on
    an unloaded codec. `train.init` names a model to start from. Raises ModelError, RecipeError.
    """
    modality = registry.modality(recipe.modality)
    training_codec = not recipe.train.of_denoiser
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed if seed is None else seed)
        codec = modality.codec(recipe.codec)
        network = None if training_codec else modality.network(recipe.network, codec)
    model = Model(recipe, modality, codec, network)
    weights = getattr(recipe.codec, "weights", "")
    if weights:
        try:
            found = locate(weights)
        except ModelError as error:
            cure = "make it by the runs that the head of the recipe lists, or name another"
            raise ModelError(f"{recipe.name}: codec.weights: {error}; {cure}") from None
        _fill(codec, found, "codec", recipe)
    elif not training_codec and any(True for _ in codec.parameters()):
        raise ModelError(
            f"{recipe.name}: codec.weights is empty, and a denoiser on an untrained codec learns noise; "
            "name a model or run whose codec is trained"
        )
    if recipe.train.init:
        if network is None:
            raise RecipeError("train.init: starts a denoiser; a codec starts from the one that codec.weights names")
        _fill(network, locate(recipe.train.init), "network", recipe)
    return _on(model, device)


def load(name: str | Path, device: str = "auto", precision: str = "auto") -> Model:
    """The model of a name in assets/models, a folder, or a run folder, ready to sample.

    `device`: auto, cpu, cuda, cuda:1, mps. Raises ModelError when it is missing, foreign or does not fit its recipe.
    """
    folder = locate(name)
    if not (folder / "recipe.yaml").is_file():
        raise ModelError(f"{folder}: has no recipe.yaml beside its weights; copy the model's folder whole")
    recipe = recipes.load(folder / "recipe.yaml")
    modality = registry.modality(recipe.modality)
    with torch.random.fork_rng(devices=[]):
        codec = modality.codec(recipe.codec)
        network = modality.network(recipe.network, codec) if recipe.train.of_denoiser else None
    _fill(codec, folder, "codec", recipe)
    if network is not None:
        _fill(network, folder, "network", recipe)
    model = Model(recipe, modality, codec, network, precision, cache(lambda other: load(other, device, precision)))
    if network is not None and recipe.train.objective == "classifier":
        captions = torch.zeros(_shape(folder, "classifier.captions"))
        model.classifier = PromptClassifier(cast(int, network.width), captions)
        _fill(model.classifier, folder, "classifier", recipe)
    model.captions = tuple(json.loads(_metadata(folder).get("captions", "[]")))
    _on(model, device)
    for module in filter(None, (model.codec, model.network, model.classifier)):
        module.eval().requires_grad_(False)
    return model


def choose_device(device: str | torch.device) -> torch.device:
    """`auto` is the GPU where there is one. Raises InputError for a device this machine does not have."""
    name = str(device)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError):  # a name nobody knows, a card that is not there, meta
        raise InputError(f"device {name}: not on this machine; use auto or cpu") from None
    return chosen


def _on(model: Model, device: str | torch.device) -> Model:
    chosen = choose_device(device)
    for module in filter(None, (model.codec, model.network, model.classifier)):
        module.to(chosen)
    return model


def _metadata(folder: Path) -> dict[str, str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return file.metadata() or {}


def _shape(folder: Path, key: str) -> list[int]:
    """The shape of a tensor in a model's folder. Raises ModelError."""
    path = folder / "model.safetensors"
    try:
        with safe_open(path, "pt") as file:
            shape: list[int] = file.get_slice(key).get_shape()
            return shape
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: has no tensor {key} ({error}); train the model again") from None


def _fill(module: nn.Module, folder: Path, prefix: str, recipe: Recipe) -> None:
    """Load the tensors `prefix.*` of a model's folder. Raises ModelError naming the first that does not fit."""
    path = folder / "model.safetensors"
    medium = _recipe(folder).get("modality")
    if medium and medium != recipe.modality:
        raise ModelError(f"{folder}: is a model of {medium}, and recipe '{recipe.name}' makes {recipe.modality}")
    try:
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("format")
            if found != FORMAT:
                raise ModelError(f"{path}: checkpoint format {found or 'unknown'}; this version reads {FORMAT}")
            keys = [key for key in file.keys() if key.startswith(f"{prefix}.")]  # noqa: SIM118
            tensors = {key.removeprefix(f"{prefix}."): file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error}); copy it again") from None
    expected = module.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        raise ModelError(
            f"{path}: has no tensor {prefix}.{missing[0]} ({len(missing)} missing); another {prefix}'s file"
        )
    if extra := sorted(set(tensors) - set(expected)):
        raise ModelError(f"{path}: tensor {prefix}.{extra[0]} is not in the recipe's {prefix} ({len(extra)} such)")
    for key, value in expected.items():
        if tensors[key].shape != value.shape:
            raise ModelError(
                f"{path}: {prefix}.{key} is {tuple(tensors[key].shape)}, "
                f"recipe '{recipe.name}' needs {tuple(value.shape)}; use the recipe it was trained with"
            )
    try:
        module.load_state_dict(tensors)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
