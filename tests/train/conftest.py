from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multidiff import recipe as recipes
from multidiff import registry


@pytest.fixture(autouse=True)
def toy_medium(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The toy medium in the registry, a cache of its own, and one thread, for small modules are faster so."""
    monkeypatch.setitem(registry.MODALITIES, "toy", "tests.train.toy:TOY")
    monkeypatch.setenv("MULTIDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def toy_recipe(*overrides: str, **train: Any) -> recipes.Recipe:
    """A recipe of the toy medium that trains in a second."""
    defaults = {
        "steps": 40,
        "batch": 16,
        "lr": 3e-3,
        "warmup": 5,
        "ema": 0.9,
        "validate_every": 20,
        "checkpoint_every": 20,
        "precision": "fp32",
    }
    values = {"name": "toy", "modality": "toy", "text": {"encoder": "none"}, "train": defaults | train}
    return recipes.from_dict(values, "test").override(overrides)


@pytest.fixture
def make_recipe() -> Callable[..., recipes.Recipe]:
    return toy_recipe
