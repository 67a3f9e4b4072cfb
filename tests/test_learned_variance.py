"""Every medium's network can learn the variance of the reverse step, and a model samples with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from multidiff import weights
from multidiff.errors import InputError
from tests.tiny import RECIPES, save_codec, tiny_model, tiny_recipe, values


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_codec(tmp_path_factory.mktemp("codec"))


@pytest.mark.parametrize("medium", RECIPES)
def test_a_network_returns_prediction_and_variance_in_the_shape_of_an_event(medium: str, codec: Path) -> None:
    model = weights.build(tiny_recipe(medium, codec, "network.learned_variance=true", "text.encoder=none"))
    x = torch.randn(2, *model.modality.event_shape(model.codec, model.recipe.options))
    prediction, v = model.denoiser().outputs(x, torch.full((2,), 0.5, dtype=torch.float64))
    assert v is not None
    assert prediction.shape == v.shape == x.shape
    made = model.sample(steps=3, sampler="ddpm:variance=learned")[0]
    assert np.isfinite(values(made)).all()


def test_a_model_without_it_is_named(codec: Path) -> None:
    model = tiny_model("points", codec, "text.encoder=none")
    with pytest.raises(InputError, match="has learned no variance; take ddpm:variance=small"):
        model.sample(steps=3, sampler="ddpm:variance=learned")
